"""
Labels such as ">10"?
=====================

An assay has a range. What lies beyond it is reported as a bound, such as ">10",
and no number follows. One can drop such labels, or take the bound for the
number; or give both columns, the number and the sign, to `Censored`, which
learns no more than that the truth lies beyond. Here labels of real data are
turned into bounds, so that the truth is known.
"""

# %%
# Three laboratories
# ------------------
# Heating and cooling load of buildings. Each row is measured by one of three
# laboratories, whose instruments end at the 30 %, 60 % and 90 % quantile of a
# load. Beyond its end a laboratory reports the end, and ">". Test rows keep
# their true loads. Both loads are tasks of one network.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

from skmtl import MultiTaskEstimator, table_pipeline
from skmtl.datasets import load_energy
from skmtl.tasks import Censored

X, y = load_energy(return_X_y=True, as_frame=True)
LOADS = list(y)
SETTINGS = {
    "three laboratories": [0.3, 0.6, 0.9],
    "one limit for all": [0.75, 0.75, 0.75],
}


def measure(y, ends, rng):
    """Return what is reported: numbers, and whether they are bounds."""
    laboratory = rng.integers(len(ends), size=len(y))
    found = pd.DataFrame(index=y.index)
    for load in LOADS:
        limit = y[load].quantile(ends).to_numpy()[laboratory]
        found[load] = np.minimum(y[load], limit)
        found[f"{load}_sign"] = np.where(y[load] > limit, ">", "=")
    return found


reported = measure(y, SETTINGS["three laboratories"], np.random.default_rng(0))
print(reported.iloc[150:153].to_string(index=False))
is_bound = reported[[f"{load}_sign" for load in LOADS]] == ">"
print(f"{is_bound.to_numpy().mean():.0%} of the labels are bounds")

# %%
# Three ways to treat a bound
# ---------------------------
# The same network, the same rows, the same number of steps; only what it is
# told of the censored labels differs. The last way is what cannot be had: the
# true numbers.


def without_bounds(reported):
    """Return the numbers, missing where they are bounds."""
    exact = {load: reported[f"{load}_sign"] == "=" for load in LOADS}
    return pd.DataFrame(
        {load: reported[load].where(exact[load]) for load in LOADS}
    )


numbers = dict.fromkeys(LOADS, "regression")
bounds = {load: Censored(bound=f"{load}_sign") for load in LOADS}
WAYS = {
    "bounds dropped": (
        numbers,
        lambda true, reported: without_bounds(reported),
    ),
    "bounds as numbers": (numbers, lambda true, reported: reported[LOADS]),
    "Censored": (bounds, lambda true, reported: reported),
    "(truth)": (numbers, lambda true, reported: true),
}


def predict(way, ends, seed):
    """Return true and predicted loads of test rows: (n_samples, 2) both."""
    tasks, labels = WAYS[way]
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=400, random_state=seed
    )
    reported = measure(y_train, ends, np.random.default_rng(seed))
    model = table_pipeline(
        MultiTaskEstimator(
            tasks,
            n_members=1,
            max_epochs=100,
            early_stopping=False,
            random_state=seed,
        )
    ).fit(X_train, labels(y_train, reported))
    return y_test.to_numpy(), model.predict(X_test)


shown = {}
for setting, ends in SETTINGS.items():
    print(f"{setting}: five splits, both loads")
    print(
        "  error (RMSE) of      all loads  lower half  upper half  bias there"
    )
    for way in WAYS:
        rows = []
        for seed in range(5):
            truth, found = predict(way, ends, seed)
            high = truth > y.median().to_numpy()
            rows.append(
                [
                    root_mean_squared_error(truth, found),
                    root_mean_squared_error(truth[~high], found[~high]),
                    root_mean_squared_error(truth[high], found[high]),
                    (found - truth)[high].mean(),
                ]
            )
        shown[setting, way] = truth[:, 0], found[:, 0]
        line = "  {:20s} {:8.2f} {:11.2f} {:11.2f} {:+11.2f}"
        print(line.format(way, *np.mean(rows, axis=0)))

# %%
# What it shows
# -------------
# Where the laboratories have different ends, some of the large loads are known,
# and bounds say where the others are not. Dropping them loses exactly the rows
# that are large, so that large loads come out too small; bounds taken for
# numbers are much worse. `Censored` cuts the error of the upper half by a third
# against the first and two thirds against the second, and almost all the bias.
#
# With one limit for all nobody has seen a number above it. Then no way is good.
# `Censored` continues what it learned below and overshoots as far as bounds
# taken for numbers fall short, and by its error it is the worse of the two.
# Below the limit it does no harm. What it predicts beyond the largest number
# that was measured is an extrapolation, and should be read as "more than that".

figure, axes = plt.subplots(
    2, 3, figsize=(8.8, 6.0), sharex=True, sharey=True, layout="constrained"
)
ends = np.array([5.0, 45.0])
for axes_of_row, setting in zip(axes, SETTINGS, strict=True):
    for ax, way in zip(axes_of_row, list(WAYS)[:3], strict=True):
        ax.plot(*shown[setting, way], ".", ms=4, alpha=0.5)
        ax.plot(ends, ends, color="black", lw=0.8)
        ax.set_title(way if ax in axes[0] else "")
        ax.set_ylim(0, 80)
    axes_of_row[0].set_ylabel(f"{setting}\npredicted heating load")
axes[1, 1].set_xlabel("true heating load")

path = Path("figures", "0100_censored_assays.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
