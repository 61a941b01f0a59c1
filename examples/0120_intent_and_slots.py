"""
How do I label texts and their words with one network?
======================================================

What does a sentence ask for, and which of its words say who, where and when?
The first is one class for each sentence, the second one for each word. The
sentences are made from patterns; one in ten has labels for its words, as
these cost more to write. Does sharing what is read help, or hurt?
"""

# %%
# Sentences, intents and slots
# ----------------------------
# Words become whole numbers from 1, and 0 is padding. `y` has two fields, one
# of them with a label for each word. The name of a place may also be that of a
# band, so that a word alone does not say what it is.

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskEstimator, records
from skmtl.encoders import TokenEncoder
from skmtl.metrics import span_f1
from skmtl.tasks import TokenLabels

PATTERNS = {
    "music": [
        "play {who} now",
        "i want to hear {who} {when}",
        "add {who} to it",
    ],
    "weather": ["will it rain in {where} {when}", "is {where} cold {when}"],
    "table": ["book for {many} in {where} {when}", "we are {many} in {where}"],
}
NAMES = [
    "boston",
    "new york",
    "kansas",
    "asia",
    "san jose",
    "europe",
    "berlin",
    "america",
]
FILL = {
    "who": [*NAMES, "miles davis", "nina simone", "the doors"],
    "where": [*NAMES, "cape town", "lima"],
    "when": ["tonight", "tomorrow", "next week", "on monday"],
    "many": ["two", "three", "six people", "ten"],
}
LENGTH, N_TRAIN, N_TEST, SEEDS, EPOCHS = 12, 200, 300, 3, 30


def sentence(rng):
    """Return the intent, the words and the label of each word."""
    intent = rng.choice(list(PATTERNS))
    words, labels = [], []
    for piece in rng.choice(PATTERNS[intent]).split():
        slot = piece.strip("{}")
        chosen = (rng.choice(FILL[slot]) if slot in FILL else piece).split()
        words += chosen
        if slot in FILL:
            labels += [f"B-{slot}", *[f"I-{slot}"] * (len(chosen) - 1)]
        else:
            labels += ["O"]
    return intent, words, labels


def draw(n, rng):
    """Return token ids, intents and labels of words, padded."""
    ids = np.zeros((n, LENGTH), dtype=int)
    slots = np.full((n, LENGTH), None, dtype=object)
    intents = []
    for row in range(n):
        intent, words, labels = sentence(rng)
        intents.append(intent)
        ids[row, : len(words)] = [
            known.setdefault(word, len(known) + 1) for word in words
        ]
        slots[row, : len(labels)] = labels
    return ids, np.array(intents), slots


known = {}

# %%
# Shared or not, after equally many steps
# ---------------------------------------
# All have the same epochs over the same sentences and stop at their end. With
# `"independent"` each task has an encoder of its own; with `"attention"` the
# intent looks for its words, and the slots have a gate for what is read.

strategies = ("independent", "hard", "soft", "attention")
scores = {sharing: [] for sharing in strategies}
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    X, intents, slots = draw(N_TRAIN + N_TEST, rng)
    labels = slots.copy()
    labels[rng.random(len(X)) > 1 / 10] = None
    train, test = np.arange(N_TRAIN), np.arange(N_TRAIN, len(X))
    for sharing in strategies:
        model = MultiTaskEstimator(
            {"intent": "classification", "slots": TokenLabels()},
            sharing,
            sharing_lambda=0.001,
            encoder=TokenEncoder(32),
            n_members=1,
            max_epochs=EPOCHS,
            early_stopping=False,
            batch_size=32,
            random_state=seed,
        ).fit(X[train], records(intent=intents, slots=labels)[train])
        found = model.predict(X[test])
        scores[sharing].append(
            [
                np.mean(found["intent"] == intents[test]),
                span_f1(slots[test], found["slots"]),
            ]
        )

for sharing, found in scores.items():
    intent, spans = np.mean(found, axis=0)
    print(f"{sharing:12s} intent {intent:.3f}, F1 of slots {spans:.3f}")
for sharing in strategies[1:]:
    gain = np.subtract(scores[sharing], scores["independent"])[:, 1]
    print(f"{sharing} minus independent, slots, by seed:", np.round(gain, 3))

# %%
# What sharing did
# ----------------
# Nothing for accuracy: every intent is known either way, and for the slots the
# seeds differ more than the strategies do. What hard sharing saves is one of
# two encoders. Labels for more sentences are what helps the slots here.

figure, axes = plt.subplots(figsize=(6, 3))
places = np.arange(2)
for k, (sharing, found) in enumerate(scores.items()):
    axes.bar(places + 0.2 * k, np.mean(found, axis=0), 0.18, label=sharing)
axes.set_xticks(places + 0.3, ["intent: accuracy", "slots: F1 of spans"])
axes.set_ylim(0.4, 1.02)
axes.legend(loc="lower left")
figure.tight_layout()

# %%
# Where the intent looks
# ----------------------
# `model` is the last one, with `"attention"`: its weights say which words the
# intent was read from, (sentence, task, word). They are those of the patterns,
# such as "is" and "cold", more than names. A task over words has no weights.

words = {number: word for word, number in known.items()}
weights = model.attention_weights(X[test])[:, 0]
for ids, own in zip(X[test][:4], weights[:4], strict=True):
    said = [(i, w) for i, w in zip(ids, own, strict=True) if i]
    print(" ".join(f"{words[i]} ({w:.2f})" for i, w in said))
