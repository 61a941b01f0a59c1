"""
How do I put a torch module of my own before the tasks?
=======================================================

Images of digits, and two questions about each: which digit is it, and how many
closed loops has it? All images come with the first label, one in ten with the
second. A small convolutional network reads them: ours, any `nn.Module` class
will do. Is it better to share it than to train one for each question?
"""

# %%
# The module and the data
# -----------------------
# A class that can be imported, so that fits can be pickled. GroupNorm and not
# BatchNorm: the features of a row must not depend on the rows beside it.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from torch import nn

from skmtl import MultiTaskClassifier
from skmtl.encoders import TorchEncoder


class SmallNetwork(nn.Sequential):
    def __init__(self, channels=16):
        super().__init__(
            nn.Unflatten(1, (1, 8)),
            nn.Conv2d(1, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )


N_TRAIN, SEEDS, EPOCHS = 400, 3, 50
LOOPS = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # of 0, 1, ..., 9

digits = load_digits()
X = digits.images / 16
y = np.column_stack([digits.target, LOOPS[digits.target]]).astype(float)

# %%
# Shared or not, after equally many steps
# ---------------------------------------
# Both have the same epochs over the same rows, and neither stops early. With
# `"independent"` each task trains a copy of the module of its own.

strategies = ("independent", "hard")
scores = {sharing: [] for sharing in strategies}
for seed in range(SEEDS):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))
    train, test = rows[:N_TRAIN], rows[N_TRAIN:]
    labels = y[train].copy()
    labels[rng.random(N_TRAIN) > 0.1, 1] = np.nan
    for sharing in strategies:
        model = MultiTaskClassifier(
            sharing,
            encoder=TorchEncoder(SmallNetwork, {"channels": 16}),
            hidden_layer_sizes=(32,),
            n_members=1,
            max_epochs=EPOCHS,
            early_stopping=False,
            random_state=seed,
        ).fit(X[train], labels)
        scores[sharing].append(
            list(model.score_tasks(X[test], y[test]).values())
        )

for sharing, found in scores.items():
    digit, loops = np.mean(found, axis=0)
    print(f"{sharing:12s} accuracy: digit {digit:.3f}, loops {loops:.3f}")
gain = np.array(scores["hard"]) - np.array(scores["independent"])
print("hard minus independent, loops, by seed:", np.round(gain[:, 1], 3))

# %%
# What sharing did
# ----------------
# The question with few labels gains from what the other one taught the module;
# the question with many labels pays a little for it.

figure, axes = plt.subplots(figsize=(6, 3))
places = np.arange(2)
for k, (sharing, found) in enumerate(scores.items()):
    axes.bar(places + 0.4 * k, np.mean(found, axis=0), 0.35, label=sharing)
axes.set_xticks(places + 0.2, ["digit", "loops (a tenth of the labels)"])
axes.set_ylim(0.5, 1)
axes.set_ylabel("accuracy on new images")
axes.legend(loc="lower right")
figure.tight_layout()
