"""
How do I write a sharing strategy of my own?
============================================

Here: every task uses the same hidden layer, changed by a low-rank matrix of its own. A strategy is two small classes.
The first stores the options, so that `clone` and a search over `sharing__rank` work; the second computes, for all tasks
at once. Training, missing labels, scoring and pickling need nothing more.
"""

# %%
# The strategy
# ------------
# Parameters begin with the member axis: networks that are trained side by side, one in a plain fit.

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold
from skmtl.sharing import Sharing, SharingModule


class LowRankSharing(Sharing):
    """One hidden layer for all tasks, changed for each task by a matrix of low rank.

    Parameters
    ----------
    rank : int, default=2
        Rank of the change. 0 would be hard sharing; the layer's width, independent towers.
    """

    def __init__(self, rank=2):
        self.rank = rank

    def build(self, shape):
        return LowRankModule(shape, self.rank)


class LowRankModule(SharingModule):
    """Compute relu(x W + x A_t B_t + b_t) for every task t."""

    per_task = True  # the features have a task axis

    def __init__(self, shape, rank):
        super().__init__()
        member, task = shape.n_members, shape.n_tasks
        n_in, width = shape.n_features, shape.hidden_layer_sizes[0]
        self.n_features_out = width
        self.common = nn.Parameter(torch.randn(member, 1, n_in, width) * (2 / n_in) ** 0.5)
        self.down = nn.Parameter(torch.randn(member, task, n_in, rank) / n_in**0.5)
        self.up = nn.Parameter(torch.zeros(member, task, rank, width))  # at first all tasks are alike
        self.bias = nn.Parameter(torch.zeros(member, task, 1, width))

    def forward(self, x):
        x = x.unsqueeze(-3)  # (..., 1, batch, n_in): every task reads the same rows
        return torch.relu(x @ self.common + x @ self.down @ self.up + self.bias)  # (member, task, batch, width)


# %%
# Use it like any other
# ---------------------
# Eight tasks in two groups: inside a group the tasks' teachers correlate with 0.9, between groups not at all.

X, y = make_related_regression(
    n_samples=400, n_features=8, n_tasks=8, n_clusters=2, relatedness=0.9, missing=0.3, random_state=0
)
search = GridSearchCV(
    MultiTaskRegressor(hidden_layer_sizes=(64,), max_epochs=150, random_state=0),
    {"sharing": ["independent", "hard", *(LowRankSharing(rank) for rank in (1, 2, 4, 8))]},
    scoring=make_task_scorer("r2"),
    refit="average",
    cv=MultiTaskKFold(3),
).fit(X, y)

results = search.cv_results_
print(f"{'sharing':24s}  R2 on held-out rows, mean of {y.shape[1]} tasks")
for strategy, score in zip(results["param_sharing"], results["mean_test_average"], strict=True):
    print(f"{strategy!s:24s}  {score:.3f}")
print(f"\nBest: {search.best_params_['sharing']}")

# %%
# The figure
# ----------

figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
names = [str(strategy) for strategy in results["param_sharing"]]
axes.barh(names[::-1], results["mean_test_average"][::-1], color=["tab:blue"] * 4 + ["tab:grey"] * 2)
axes.set(xlabel="R2 on held-out rows, mean of 8 tasks", title="A strategy of one's own (blue) among the built-in ones")

path = Path(__file__).parent / "figures" / "0040_own_sharing_strategy.png"
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"Figure: {path.relative_to(Path(__file__).parents[1])}")
