"""
How do I write a sharing strategy of my own?
============================================

Here: adapters. All tasks share one trunk, and each task adds a small correction
to its features, computed by a narrow layer of that task. A strategy is two
small classes. The first stores the options, so that `clone` and a search over
``sharing__bottleneck`` work; the second computes, for all tasks at once.
Training, missing labels, scoring and pickling need nothing more.
"""

# %%
# The strategy
# ------------
# Shapes are (member, task, batch, feature). Members are networks trained side
# by side, as those of a search. The corrections start at zero, so training
# starts from hard sharing. Both stacks of layers receive the dropout of the
# estimator.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold, StackedGridSearchCV
from skmtl.sharing import DenseStack, Sharing, SharingModule


class Adapters(Sharing):
    """One trunk, and an adapter per task (N. Houlsby et al., ICML 2019).

    Parameters
    ----------
    bottleneck : int, default=4
        Hidden units of each adapter.
    """

    def __init__(self, bottleneck=4):
        self.bottleneck = bottleneck

    def build(self, shape):
        return AdapterModule(shape, self.bottleneck)


class AdapterModule(SharingModule):
    """Compute h + relu(h D_t) U_t for task t; h are the trunk's features."""

    per_task = True  # the features have a task axis

    def __init__(self, shape, bottleneck):
        super().__init__()
        member, task = shape.n_members, shape.n_tasks
        sizes = (shape.n_features, *shape.hidden_layer_sizes)
        self.n_features_out = sizes[-1]
        options = shape.activation, shape.dropout
        self.trunk = DenseStack((member,), sizes, *options)
        self.down = DenseStack(
            (member, task), (sizes[-1], bottleneck), *options
        )
        self.up = nn.Parameter(torch.zeros(member, task, bottleneck, sizes[-1]))

    def shared(self, x):  # what `transform` returns
        return self.trunk(x)  # (member, batch, feature)

    def forward(self, x):
        h = self.trunk(x)
        # (member, task, batch, feature)
        return h.unsqueeze(1) + self.down(h) @ self.up


# %%
# Use it like any other
# ---------------------
# Eight tasks in two groups, related within a group only; 70 % of the labels are
# missing. A strategy object and its options go into a grid like any other
# value. By default the built-in strategies train ten networks and one of your
# own trains one, so ``n_members=1`` makes the comparison fair.

X, y = make_related_regression(
    n_samples=400,
    n_features=6,
    n_tasks=8,
    n_clusters=2,
    relatedness=0.95,
    noise=0.3,
    missing=0.7,
    random_state=0,
)
BUILT_IN = ["independent", "hard", "soft", "cross_stitch"]
WIDTHS = [2, 4, 8]
search = StackedGridSearchCV(
    MultiTaskRegressor(
        n_members=1, max_epochs=60, early_stopping=False, random_state=0
    ),
    [
        {"sharing": BUILT_IN},
        {"sharing": [Adapters()], "sharing__bottleneck": WIDTHS},
    ],
    scoring=make_task_scorer("r2"),
    refit="average",
    cv=MultiTaskKFold(3, random_state=0),
).fit(X, y)

results = search.cv_results_
names = [*BUILT_IN, *(f"adapters {width}" for width in WIDTHS)]
print(f"{'sharing':18s}  R2 on held-out rows, mean of {y.shape[1]} tasks")
for name, score in zip(names, results["mean_test_average"], strict=True):
    print(f"{name:18s}  {score:.3f}")
print(f"\nBest: {names[search.best_index_]}")

# %%
# The figure
# ----------
# Three folds are few to rank strategies by; a point for each of them shows how
# far they differ.

folds = np.stack([results[f"split{k}_test_average"] for k in range(3)])
gains = (folds - folds[:, [0]])[:, 1:]  # over independent, on the same fold
places = np.arange(1, len(names))[::-1]

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
ax.plot(gains.T, places, ".", color="0.6")
ax.plot(gains.mean(axis=0), places, "D", color="tab:blue")
ax.axvline(0.0, color="black", lw=0.8)
ax.set_yticks(places, names[1:])
ax.set(
    xlabel="gain of R² over independent towers\n(dots: folds, diamonds: mean)",
    ylabel="sharing strategy",
    title="Eight tasks in two groups",
)

path = Path("figures", "0040_own_sharing_strategy.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"Figure: {path}")
