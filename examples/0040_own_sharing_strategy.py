"""
How do I write a sharing strategy of my own?
============================================

Here: cross-stitch networks, in which every task has a tower, and after each layer every tower reads a learned mix of
all towers. A strategy is two small classes. The first stores the options, so that `clone` and a search over
`sharing__self_weight` work; the second computes, for all tasks at once. Training, missing labels, scoring and pickling
need nothing more.
"""

# %%
# The strategy
# ------------
# Shapes are (member, task, batch, feature). Members are networks trained side by side, one in a plain fit.

from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold
from skmtl.sharing import DenseStack, Sharing, SharingModule


class CrossStitch(Sharing):
    """A tower per task, mixed after every layer (I. Misra et al., CVPR 2016).

    Parameters
    ----------
    self_weight : float, default=0.5
        How much a tower reads of itself at first; the others share the rest equally. 1 starts from independent towers.
    """

    def __init__(self, self_weight=0.5):
        self.self_weight = self_weight

    def build(self, shape):
        return CrossStitchModule(shape, self.self_weight)


class CrossStitchModule(SharingModule):
    """Compute h_s = sum_t A_st relu(h_t W_t + b_t), layer after layer."""

    per_task = True  # the features have a task axis

    def __init__(self, shape, self_weight):
        super().__init__()
        member, task = shape.n_members, shape.n_tasks
        sizes = (shape.n_features, *shape.hidden_layer_sizes)
        self.n_features_out = sizes[-1]
        self.layers = nn.ModuleList(DenseStack((member, task), pair, shape.activation) for pair in pairwise(sizes))
        mix = torch.full((task, task), (1 - self_weight) / max(task - 1, 1)).fill_diagonal_(self_weight)
        self.mixes = nn.ParameterList(mix.repeat(member, 1, 1) for _ in self.layers)

    def forward(self, x):
        h = x
        for layer, mix in zip(self.layers, self.mixes, strict=True):
            h = torch.einsum("mst,mtbf->msbf", mix, layer(h))
        return h  # (member, task, batch, feature)


# %%
# Use it like any other
# ---------------------
# Eight tasks in two groups, related within a group only; 70 % of the labels are missing. Strategies and their options
# stand in a grid like any other value.

X, y = make_related_regression(
    n_samples=400, n_features=6, n_tasks=8, n_clusters=2, relatedness=0.95, noise=0.3, missing=0.7, random_state=0
)
search = GridSearchCV(
    MultiTaskRegressor(max_epochs=60, random_state=0),
    [
        {"sharing": ["independent", "hard", "soft"]},
        {"sharing": [CrossStitch()], "sharing__self_weight": [0.3, 0.5, 0.7, 0.9]},
    ],
    scoring=make_task_scorer("r2"),
    refit="average",
    cv=MultiTaskKFold(3, random_state=0),
).fit(X, y)

results = search.cv_results_
names = [f"cross-stitch {p['sharing__self_weight']}" if len(p) > 1 else p["sharing"] for p in results["params"]]
print(f"{'sharing':18s}  R2 on held-out rows, mean of {y.shape[1]} tasks")
for name, score in zip(names, results["mean_test_average"], strict=True):
    print(f"{name:18s}  {score:.3f}")
print(f"\nBest: {names[search.best_index_]}")

# %%
# The figure
# ----------
# Three folds are few to rank strategies by; a point for each of them shows how far they differ.

folds = np.stack([results[f"split{k}_test_average"] for k in range(3)])
gains = (folds - folds[:, [0]])[:, 1:]  # over independent towers, on the same fold
places = np.arange(1, len(names))[::-1]

figure, ax = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
ax.plot(gains.T, places, ".", color="0.6")
ax.plot(gains.mean(axis=0), places, "D", color="tab:blue")
ax.axvline(0.0, color="black", lw=0.8)
ax.set_yticks(places, names[1:])
ax.set(
    xlabel="gain of R² over independent towers (dots: folds, diamonds: their mean)",
    title=f"Best of all: {names[search.best_index_]}",
)

path = Path("figures", "0040_own_sharing_strategy.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"Figure: {path}")
