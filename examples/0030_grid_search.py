"""
Which sharing, and how much of it?
==================================

That is a question for cross-validation. `GridSearchCV` searches over strategies and, for soft sharing, over the
strength of the penalty, `sharing_lambda`. Twelve tasks in two groups: within a group they are related, between groups
they are not, and 80 % of the labels are missing.
"""

# %%
# The search
# ----------
# `make_task_scorer` scores each task on its observed labels, and ``refit="average"`` chooses by their mean.
# `MultiTaskKFold` gives every fold its share of every task's labels.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold

LAMBDAS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]

X, y = make_related_regression(
    n_samples=400, n_features=6, n_tasks=12, n_clusters=2, relatedness=0.95, noise=0.3, missing=0.8, random_state=0
)
search = GridSearchCV(
    MultiTaskRegressor(max_epochs=60, random_state=0),
    [{"sharing": ["independent", "hard", "attention"]}, {"sharing": ["soft"], "sharing_lambda": LAMBDAS}],
    scoring=make_task_scorer("r2"),
    refit="average",
    cv=MultiTaskKFold(3, random_state=0),
).fit(X, y)

results = search.cv_results_
print("R2 on held-out rows, mean of 12 tasks and three folds")
for parameters, score in zip(results["params"], results["mean_test_average"], strict=True):
    penalty = f"lambda {parameters['sharing_lambda']:.0e}" if "sharing_lambda" in parameters else ""
    print(f"  {parameters['sharing']:12s} {penalty:14s} {score:.3f}")
print(f"Chosen: {search.best_params_}")

# %%
# The tasks' own scores
# ---------------------
# ``cv_results_`` has one column per task, too: no choice is the best for all of them.

tasks = search.best_estimator_.task_names_
by_task = np.array([results[f"mean_test_{task}"] for task in tasks])  # (task, candidate)
for number, candidate in enumerate(results["params"]):
    n_best = int((by_task.argmax(axis=1) == number).sum())
    if n_best:
        named = ", ".join(f"{name}={value}" for name, value in candidate.items())
        print(f"  best for {n_best} of {len(tasks)} tasks: {named}")

# %%
# The figure
# ----------
# With a weak penalty soft sharing is the same as independent towers; with a very strong one all towers are one, and the
# tasks differ by their heads only. Hard sharing is that network, too, but its heads start from random weights and these
# from equal ones, which counts where labels are as few as here. How far to go is what the search finds.

figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
is_soft = results["param_sharing"] == "soft"
ax.semilogx(LAMBDAS, results["mean_test_average"][is_soft], "o-", label="soft")
for strategy, colour in [("attention", "tab:green"), ("hard", "tab:orange"), ("independent", "0.4")]:
    (level,) = results["mean_test_average"][results["param_sharing"] == strategy]
    ax.axhline(level, color=colour, ls="--", label=strategy)
best = LAMBDAS[results["mean_test_average"][is_soft].argmax()]
ax.set_title(f"Soft sharing reaches its best at λ = {best:g}; the best of all is {search.best_params_['sharing']}")
ax.set(xlabel="sharing_lambda (λ)", ylabel="R² on held-out rows, mean of 12 tasks")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

path = Path("figures", "0030_grid_search.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
