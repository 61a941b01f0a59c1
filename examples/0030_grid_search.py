"""
Which sharing, and how much of it?
==================================

That is a question for cross-validation. `StackedGridSearchCV` searches over the
strategies and, for soft sharing, over the strength of the penalty,
``sharing_lambda``. It is used like scikit-learn's `GridSearchCV`, but trains
candidates and folds side by side. Here it is asked twice, each time on three
random draws of the data: about two real tasks, and about six synthetic ones.
"""

# %%
# The data
# --------
# Energy: the two loads of a building, with 10 % of the labels of the training
# rows left. Synthetic: tasks in two groups, related within a group only, with
# 20 % of the labels left. Test rows have all their labels.

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy, make_related_regression
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold, StackedGridSearchCV

DRAWS = range(3)


def split(X, y, share, seed):
    """Return training and test rows; of y, train on that share of labels."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    y_train, rng = y_train.copy(), np.random.default_rng(seed)
    for column in y_train.T:
        column[rng.permutation(len(column))[round(share * len(column)) :]] = (
            np.nan
        )
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def energy(seed):
    return split(*load_energy(return_X_y=True), 0.1, seed)


def synthetic(seed):
    X, y = make_related_regression(
        n_samples=300,
        n_features=6,
        n_tasks=6,
        n_clusters=2,
        relatedness=0.95,
        noise=0.3,
        random_state=seed,
    )
    return split(X, y, 0.2, seed)


# %%
# The search
# ----------
# `make_task_scorer` scores each task on its observed labels, and
# ``refit="average"`` selects by their mean. `MultiTaskKFold` gives every fold
# its share of every task's labels. By default an estimator trains ten networks;
# to compare strategies one is enough, and takes less time. Stacked searches can
# refit the winner as an ensemble, with ``refit_params={"n_members": 10}``.

LAMBDAS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]
OTHERS = ["independent", "hard", "attention"]
GRID = [{"sharing": OTHERS}, {"sharing": ["soft"], "sharing_lambda": LAMBDAS}]


def network(sharing, seed):
    """Return one network, trained for all epochs on all labels."""
    return MultiTaskRegressor(
        sharing,
        n_members=1,
        max_epochs=40,
        early_stopping=False,
        random_state=seed,
    )


def search(kind, grid, X, y, seed):
    """Return a fitted search of that kind over the grid."""
    return kind(
        network("hard", seed),
        grid,
        scoring=make_task_scorer("r2"),
        refit="average",
        cv=MultiTaskKFold(3, random_state=seed),
    ).fit(X, y)


problems = {"Energy, 2 tasks": energy, "Synthetic, 6 tasks": synthetic}
scores = {name: [] for name in problems}  # in cross-validation, per candidate
for name, problem in problems.items():
    print(f"{name}: R2 on test rows, mean over tasks")
    for seed in DRAWS:
        X_train, X_test, y_train, y_test = problem(seed)
        found = search(StackedGridSearchCV, GRID, X_train, y_train, seed)
        scores[name].append(found.cv_results_["mean_test_average"])
        alone = network("independent", seed).fit(X_train, y_train)
        chosen = found.best_estimator_.score(X_test, y_test)
        print(f"  draw {seed}: {found.best_params_}")
        print(
            f"    {chosen:.3f}; independent {alone.score(X_test, y_test):.3f}"
        )

# %%
# What is gained over `GridSearchCV`
# ----------------------------------
# Time, and nothing else: the scores are the same, to within rounding. How much
# time depends on what is searched. Candidates that differ in numbers, such as
# step size and weight decay, share one stack with all of their folds. Each
# strategy is a separate stack, and attention is much work in any case.

RATES = {"lr": [1e-3, 3e-3, 1e-2, 3e-2], "weight_decay": [0.01, 0.1, 1.0]}

X_train, _, y_train, _ = energy(0)
for name, grid in {"strategies and λ": GRID, "lr, weight decay": RATES}.items():
    seconds, means = [], []
    for kind in (GridSearchCV, StackedGridSearchCV):
        start = time.perf_counter()
        found = search(kind, grid, X_train, y_train, 0)
        seconds.append(time.perf_counter() - start)
        means.append(found.cv_results_["mean_test_average"])
    apart = np.abs(means[0] - means[1]).max()
    print(
        f"{name}: GridSearchCV {seconds[0]:.2f} s, stacked {seconds[1]:.2f} s,"
        f" scores differ by {apart:.0e} at most"
    )

# %%
# The figure
# ----------
# Each draw is compared with independent towers on its own folds. With a weak
# penalty soft sharing equals independent towers. With a very strong one all
# towers are one, and tasks differ by their heads only. Hard sharing is that
# network, too, but its heads start from random weights and these from equal
# ones, which matters where labels are as few as here. A lead that is smaller
# than the spread between draws (bars, bands) is no lead.

figure, axes = plt.subplots(1, 2, figsize=(8.6, 5.2), layout="constrained")
for ax, (name, draws) in zip(axes, scores.items(), strict=True):
    gains = np.array(draws) - np.array(draws)[:, [0]]  # (draw, candidate)
    soft = gains[:, len(OTHERS) :]
    (line,) = ax.semilogx(LAMBDAS, soft.mean(axis=0), "o-", label="soft")
    low, high = soft.min(axis=0), soft.max(axis=0)
    ax.fill_between(LAMBDAS, low, high, color=line.get_color(), alpha=0.15)
    for place, (strategy, colour) in enumerate(
        [("hard", "tab:orange"), ("attention", "tab:green")], start=1
    ):
        levels = gains[:, place]
        middle = levels.mean()
        spread = [[middle - levels.min()], [levels.max() - middle]]
        x = 30.0 * 4**place
        ax.errorbar(x, middle, spread, fmt="D", color=colour, label=strategy)
    ax.axhline(0.0, color="0.4", ls="--", label="independent")
    ax.set(title=name, xlabel="sharing_lambda (λ) of soft sharing")
axes[0].set_ylabel("gain of R² over independent, in cross-validation")
handles = axes[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=4)

path = Path("figures", "0030_grid_search.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
