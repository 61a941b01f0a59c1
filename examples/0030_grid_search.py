"""
Which sharing, and how much of it?
==================================

That is a question for cross-validation. `GridSearchCV` searches over strategies and, for soft sharing, over the
strength of the penalty, `sharing_lambda`. Twelve tasks in three groups: within a group they are related, between groups
they are not, and 40 % of the labels are missing.
"""

# %%
# The search
# ----------
# `make_task_scorer` scores each task on its observed labels, and ``refit="average"`` chooses by their mean.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold

LAMBDAS = np.logspace(-6, 0, 7)

X, y = make_related_regression(
    n_samples=300, n_features=6, n_tasks=12, n_clusters=3, relatedness=0.9, noise=0.3, missing=0.4, random_state=0
)
search = GridSearchCV(
    MultiTaskRegressor(max_epochs=60, random_state=0),
    [{"sharing": ["independent", "hard", "attention"]}, {"sharing": ["soft"], "sharing_lambda": LAMBDAS}],
    scoring=make_task_scorer("r2"),
    refit="average",
    cv=MultiTaskKFold(3),
).fit(X, y)

results = search.cv_results_
for parameters, score in zip(results["params"], results["mean_test_average"], strict=True):
    penalty = f"lambda {parameters['sharing_lambda']:.0e}" if "sharing_lambda" in parameters else ""
    print(f"{parameters['sharing']:12s} {penalty:14s} R2 {score:.3f}")
print(f"Chosen: {search.best_params_}")

# %%
# The figure
# ----------
# Without a penalty the towers of soft sharing are independent; a very strong one makes them equal.

figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
soft = results["param_sharing"] == "soft"
for task in search.best_estimator_.task_names_:
    axes.semilogx(LAMBDAS, results[f"mean_test_{task}"][soft], color="tab:blue", alpha=0.2)
axes.semilogx(LAMBDAS, results["mean_test_average"][soft], color="tab:blue", marker="o", label="soft (thin: each task)")
for strategy, style in [("independent", ":"), ("hard", "--"), ("attention", "-.")]:
    (level,) = results["mean_test_average"][results["param_sharing"] == strategy]
    axes.axhline(level, color="black", ls=style, label=strategy)
axes.set(xlabel="sharing_lambda", ylabel="R2, cross-validated", title="Twelve tasks in three groups")
axes.legend()

path = Path(__file__).parent / "figures" / "0030_grid_search.png"
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path.relative_to(Path(__file__).parents[1])}")
