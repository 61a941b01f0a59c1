"""Tox21: does a shared trunk help twelve assays with missing labels, and how far is it from logistic regression?"""

from __future__ import annotations

import time

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, mean_std, print_table
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from skmtl import MultiTaskClassifier

PLAIN = (0.0, 0.0)  # weight decay, dropout
NETWORKS = {  # the parameters of both arms, and candidates for each arm's (weight decay, dropout); --quick takes two
    "two layers of 64, AdamW": (
        {"hidden_layer_sizes": (64, 64), "optimizer": "adamw"},
        [PLAIN, (2.0, 0.0), (2.0, 0.3)],
    ),
    "one layer of 128, Adam": ({"hidden_layer_sizes": (128,), "optimizer": "adam"}, [PLAIN, (3e-3, 0.5), (1e-2, 0.5)]),
}
EPOCHS = (3, 6, 12, 20, 30)
PROTOCOL = """Protocol: {splits}.
Trained on the training rows alone; every choice by the mean ROC-AUC over tasks on the validation rows; test AUC shown.
Both arms of a network: batch 128, lr 1e-3, candidates (weight decay, dropout) {candidates};
epochs among {epochs}. Budgets:
  fixed    no regularisation, {last} epochs
  stopped  no regularisation, epochs chosen
  tuned    weight decay, dropout and epochs chosen by each arm for itself
Logistic regression per task: C among {cs}, chosen likewise.
"""
CS = (0.01, 0.1, 1.0)
MANIFEST = "Data folder, scaffold split, training + validation rows: logistic regression .7498, random forest .7493."


def auc(probability, y):
    """Return the mean ROC-AUC over tasks with two observed classes."""
    scores = []
    for p, labels in zip(probability, y.T, strict=True):
        seen = ~np.isnan(labels)
        if len(np.unique(labels[seen])) == 2:
            scores.append(roc_auc_score(labels[seen], p[seen, 1]))
    return float(np.mean(scores))


def path(parts, sharing, network, decay, dropout, seed):
    """Return (validation AUC, test AUC) after each number of epochs in EPOCHS: one fit, going on."""
    (X, y), valid, test = parts
    model = MultiTaskClassifier(sharing, weight_decay=decay, dropout=dropout, lr=1e-3, **network, **ONE_NETWORK)
    model.set_params(batch_size=128, warm_start=True, random_state=seed)
    scores, before = [], 0
    for epochs in EPOCHS:
        model.set_params(max_epochs=epochs - before).fit(X, y)
        scores.append(tuple(auc(model.predict_proba(Z), labels) for Z, labels in (valid, test)))
        before = epochs
    return scores


def arm(parts, sharing, network, candidates, seed):
    """Return the test AUC of each budget, and what was tuned."""
    paths = {c: path(parts, sharing, network, *c, seed) for c in candidates}
    tuned = max((score, c, epochs) for c, scores in paths.items() for score, epochs in zip(scores, EPOCHS, strict=True))
    plain = paths[PLAIN]
    result = {"fixed": plain[-1][1], "stopped": max(plain)[1], "tuned": tuned[0][1]}
    return result, f"decay {tuned[1][0]:g} dropout {tuned[1][1]:g} epochs {tuned[2]}"


def logistic(parts):
    """Return the test AUC of a logistic regression per task, C chosen on the validation rows."""
    (X, y), valid, test = parts
    scores = []
    for c in CS:
        models = [LogisticRegression(C=c, solver="liblinear") for _ in y.T]
        for model, labels in zip(models, y.T, strict=True):
            seen = ~np.isnan(labels)
            model.fit(csr_matrix(X[seen], dtype=float), labels[seen])
        scores.append([auc([m.predict_proba(csr_matrix(Z)) for m in models], labels) for Z, labels in (valid, test)])
    return max(scores)[1]


def splits(X, y, meta, n_seeds):
    """Yield the kind of split, a seed and (X, y) of training, validation and test rows."""
    cut = [int(0.8 * len(X)), int(0.9 * len(X))]
    for seed in range(n_seeds):
        random = np.split(np.random.RandomState(seed).permutation(len(X)), cut)
        scaffold = [np.flatnonzero(meta["split"] == k) for k in range(3)]
        for kind, rows in (("random", random), ("scaffold", scaffold)):
            yield kind, seed, [(X[part], y[part]) for part in rows]


def measure(parts, n_candidates, seed):
    """Return test AUCs by (network, arm, budget), and print what was tuned."""
    scores = {"logistic regression": logistic(parts)}
    for name, (network, candidates) in NETWORKS.items():
        for sharing in ("hard", "independent"):
            start = time.perf_counter()
            budgets, choice = arm(parts, sharing, network, candidates[:n_candidates], seed)
            scores |= {(name, sharing, budget): score for budget, score in budgets.items()}
            print(f"  seed {seed}, {name}, {sharing}: {choice}, {time.perf_counter() - start:.0f} s", flush=True)
    return scores


def report(kind, runs):
    """Print the table of one kind of split."""
    rows = []
    for name in NETWORKS:
        for budget in ("fixed", "stopped", "tuned"):
            hard, alone = (
                np.array([run[name, sharing, budget] for run in runs]) for sharing in ("hard", "independent")
            )
            rows.append([name, budget, mean_std(hard), mean_std(alone), mean_std(hard - alone)])
    print(f"\n{kind}: test ROC-AUC, mean over tasks, mean ± std over {len(runs)} seeds\n")
    print_table(["network", "budget", "hard", "independent", "hard - independent"], rows)
    print("logistic regression:", mean_std([run["logistic regression"] for run in runs]))


def main():
    """Measure and print."""
    full = begin("Tox21: hard sharing against independent networks of the same width")
    n_candidates, n_seeds = (3, 3) if full else (2, 1)
    text = f"random 80/10/10 rows and the scaffold split of the file, {n_seeds} seeds (split and weights)"
    candidates = {name: network[1][:n_candidates] for name, network in NETWORKS.items()}
    print(PROTOCOL.format(splits=text, candidates=candidates, epochs=EPOCHS, last=EPOCHS[-1], cs=CS))
    X, y, meta = load("tox21")
    runs = {"random": [], "scaffold": []}
    for kind, seed, parts in splits(X.astype(np.float32), y, meta, n_seeds):
        print(kind)
        runs[kind].append(measure(parts, n_candidates, seed))
    for kind, scores in runs.items():
        report(kind, scores)
    print(MANIFEST)


if __name__ == "__main__":
    main()
