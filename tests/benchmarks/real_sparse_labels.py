"""Sets with many missing labels: what the objective of mini-batches does to accuracy, at equal epochs.

With PYTHONPATH=<another checkout> it scores that one's package, so that two versions can be compared.
"""

from __future__ import annotations

import time

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, mean_std, print_table
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import SoftSharing

PROTOCOL = """Protocol: a random fifth of the rows is the test part, drawn anew with each seed; one network without
early stopping, and the other parameters are the defaults, but for those named. Scores: mean over tasks of ROC-AUC
(molecules, census) or R2; school: explained variance over all rows."""


def auc(model, X, y):
    """Return the mean ROC-AUC over tasks with two observed classes."""
    scores = []
    for p, labels in zip(model.predict_proba(X), y.T, strict=True):
        seen = ~np.isnan(labels)
        if len(np.unique(labels[seen])) == 2:
            scores.append(roc_auc_score(labels[seen], p[seen, 1]))
    return float(np.mean(scores))


def mean_r2(model, X, y):
    """Return the mean R² over tasks."""
    columns = zip(model.predict(X).T, y.T, strict=True)
    return float(np.mean([r2_score(labels[~np.isnan(labels)], p[~np.isnan(labels)]) for p, labels in columns]))


def explained(model, X, y):
    """Return the explained variance over all rows, each read in the one column that it has."""
    at = ~np.isnan(y)
    return float(r2_score(y[at], model.predict(X)[at]))


def half_missing(y, seed):
    """Return y with half of its labels missing at random."""
    return np.where(np.random.default_rng(seed).random(y.shape) < 0.5, np.nan, y)


def tables(full: bool):
    """Yield (name, X, y, scores, seeds and parameters to try) of each set."""
    bits = {"max_epochs": 30}
    for name in ("tox21", "toxcast"):
        X, y, _ = load(name)
        X = X.astype(np.float32)
        yield name, X, y, auc, [{}, {"early_stopping": True}, bits | {"batch_size": 32}]
    X, y, meta = load("census")
    keep = np.random.default_rng(0).permutation(len(X))[:6000]
    X = np.nan_to_num(np.asarray(X[keep], dtype=np.float32))
    yield "census, half missing", X, half_missing(y[keep], 0), auc, [{}, {"early_stopping": True}]
    for name in ("enb", "wq", "sarcos") if full else ("enb", "wq"):
        try:
            X, y, _ = load(name)
        except (KeyError, FileNotFoundError):
            continue
        yield f"{name}, half missing", X.astype(np.float32), half_missing(y, 0), mean_r2, [{}, {"early_stopping": True}]
    X, y, meta = load("school")
    columns = np.full((len(X), int(meta["domain"].max()) + 1), np.nan)
    columns[np.arange(len(X)), meta["domain"]] = y[:, 0]
    linear = {"hidden_layer_sizes": (), "sharing": SoftSharing(tie_heads=True), "max_epochs": 10, "lr": 0.01}
    soft = [linear | {"sharing_lambda": strength} for strength in (1e-4, 1e-3, 1e-2)]
    yield "school", X.astype(np.float32), columns, explained, [{"max_epochs": 20}, *soft]


def main() -> None:
    full = begin(__doc__.splitlines()[0])
    print(f"skmtl of {skmtl.__path__[0]}\n{PROTOCOL}\n")
    rows = []
    for name, X, y, score, settings in tables(full):
        for parameters in settings:
            start, scores = time.process_time(), []
            for seed in range(5 if full else 3):
                order = np.random.default_rng(seed).permutation(len(X))
                test, train = order[: len(X) // 5], order[len(X) // 5 :]
                scaler = StandardScaler().fit(X[train])
                Z = [scaler.transform(X[part]).clip(-3, 3).astype(np.float32) for part in (train, test)]
                kind = MultiTaskClassifier if score is auc else MultiTaskRegressor
                keep = [t for t in range(y.shape[1]) if len(np.unique(y[train, t][~np.isnan(y[train, t])])) > 1]
                model = kind(random_state=seed, **ONE_NETWORK | parameters).fit(Z[0], y[train][:, keep])
                scores.append(score(model, Z[1], y[test][:, keep]))
            words = ", ".join(f"{k}={v}" for k, v in parameters.items())
            rows.append([name, words, mean_std(scores), f"{time.process_time() - start:.0f}"])
            print(*rows[-1], flush=True)
    print_table(["set", "parameters", "score", "s"], rows)


if __name__ == "__main__":
    main()
