"""Tasks over tokens: several readers of one sentence, shared against alone, at equal steps.

snips: the intent of a sentence and a slot for each of its tokens; 600 training sentences, drawn once or, in the second
table, by each seed, and 700 test sentences. Baselines on the rows drawn once: logistic regression on word counts (.943)
and on a window of five words (.785). ud_ewt: seven sets of tags for each token, four of them with missing labels; the
first 800 sentences to train on and to test on. No early stopping; all networks of a data set take equally many epochs
over the same rows; settings were chosen on the validation rows of snips with other seeds. Accuracy on the test rows, of
tokens without padding, mean over seeds; processor seconds of a fit. Run: python tests/benchmarks/real_places.py
"""

from __future__ import annotations

import time

import numpy as np
from _data import begin, load, mean_std, print_table

from skmtl import MultiTaskEstimator, records
from skmtl.encoders import TokenEncoder
from skmtl.tasks import TokenLabels

COMMON = {
    "n_members": 1, "early_stopping": False, "batch_size": 32, "lr": 5e-3, "lr_schedule": "cosine",
    "hidden_layer_sizes": (), "encoder": TokenEncoder(64, "gru"),
}  # fmt: skip
LENGTH = 40  # of the longest sentence of ud_ewt that is read


def accuracies(tasks, sharing, X, y, train, test, seed, epochs) -> list[float]:
    """Return the accuracy of each task on test rows, and processor seconds of the fit."""
    start = time.process_time()
    model = MultiTaskEstimator(tasks, sharing, **COMMON, max_epochs=epochs, random_state=seed).fit(X[train], y[train])
    seconds, found = time.process_time() - start, model.predict(X[test])
    scores = []
    for name in tasks:
        labels = y[name][test]
        seen = (labels == labels) & (labels != -1)
        scores.append(float((found[name] == labels)[seen].mean()))
    return [*scores, seconds]


def snips(seeds, same_rows: bool, epochs: int = 25) -> list[list]:
    """Return a row for each strategy."""
    X, y, meta = load("snips")
    X, table = X.astype(np.int64), records(intent=y[:, 0].astype(int), slots=meta["slot_tags"].astype(int))
    known, test = (np.flatnonzero(meta["split"] == part) for part in (0, 2))
    tasks, rows = {"intent": "classification", "slots": TokenLabels(missing=-1)}, []
    for sharing in ("independent", "hard", "attention"):
        found = []
        for seed in seeds:
            train = np.random.default_rng(0 if same_rows else seed).permutation(known)[:600]
            found.append(accuracies(tasks, sharing, X, table, train, test, seed, epochs))
        rows.append([sharing, *(mean_std(column, 3) for column in np.transpose(found)[:-1]), f"{found[0][-1]:.0f}"])
    return rows


def tags(seeds, epochs: int = 15) -> list[list]:
    """Return a row for each strategy: the mean accuracy of the seven sets of tags."""
    X, y, meta = load("ud_ewt")
    names, sentence = meta["task_names"], meta["sentence"].astype(int) * 10 + meta["split"]
    _, first, counts = np.unique(sentence, return_index=True, return_counts=True)
    first, counts = first[counts <= LENGTH], counts[counts <= LENGTH]
    place = first[:, None] + np.arange(LENGTH)
    inside = np.arange(LENGTH) < counts[:, None]
    place = np.where(inside, place, 0)
    ids = np.where(inside, X[place, 2] + 1, 0).astype(np.int64)
    table = records({name: np.where(inside, y[place, t], np.nan) for t, name in enumerate(names)})
    split = meta["split"][first]
    train, test = np.flatnonzero(split == 0)[:800], np.flatnonzero(split == 2)[:800]
    tasks, rows = {name: TokenLabels() for name in names}, []
    for sharing in ("independent", "hard"):
        found = [accuracies(tasks, sharing, ids, table, train, test, seed, epochs) for seed in seeds]
        means = [np.mean(own[:-1]) for own in found]
        rows.append([sharing, mean_std(means, 3), f"{np.mean([own[-1] for own in found]):.0f}"])
    return rows


if __name__ == "__main__":
    seeds = range(3 if begin("Tasks over tokens: accuracy") else 1)
    for rows, same_rows in (("rows drawn once", True), ("rows by seed", False)):
        print_table([f"snips, {rows}", "intent", "slots", "seconds"], snips(seeds, same_rows))
        print()
    print_table(["ud_ewt", "mean of 7", "seconds"], tags(seeds))
