"""
Can two data sets with other columns be learned together?
=========================================================

Two clinics measure other things. `stack_tasks` makes one table of both, and
each task reads the columns of its own clinic: a layer of its own leads into the
trunk that the tasks share. The small clinic has few patients. Do the many
patients of the large one help it, if what they measure depends on the same
causes? And if it does not?
"""

# %%
# Two clinics
# -----------
# Three hidden causes decide the outcome, by the same curves in both clinics.
# The small one measures twelve mixtures of them with some noise, the large one
# twenty others. In a second world the outcomes of the large clinic have nothing
# to do with what it measures.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import sem
from sklearn.metrics import r2_score

from skmtl import MultiTaskEstimator, stack_tasks
from skmtl.tasks import Regression

N_SMALL, N_LARGE, N_NEW, N_DRAWS = 60, 1200, 500, 6


def outcome(causes):
    """Return what the causes lead to."""
    return np.sin(2 * causes[:, 0]) + causes[:, 1] * causes[:, 2]


def measure(causes, mixing, rng):
    """Return mixtures of the causes, measured with noise."""
    values = causes @ mixing
    return values + 0.3 * rng.normal(size=values.shape)


def draw(seed, same_causes):
    """Return training data of both clinics, and new patients of the small."""
    rng = np.random.default_rng(seed)
    mixings = rng.normal(size=(3, 12)), rng.normal(size=(3, 20))
    small, new = rng.normal(size=(N_SMALL, 3)), rng.normal(size=(N_NEW, 3))
    large = rng.normal(size=(N_LARGE, 3))
    deciding = large if same_causes else rng.normal(size=large.shape)
    data = {
        "small": (measure(small, mixings[0], rng), outcome(small)),
        "large": (measure(large, mixings[1], rng), outcome(deciding)),
    }
    return data, measure(new, mixings[0], rng), outcome(new)


# %%
# Together and apart
# ------------------
# ``sharing="independent"`` gives each task a network of its own on the same
# table, so that both see the same batches and take the same number of steps.
# Rows of the other clinic have no label of a task and do not count for it. A
# new patient has the columns of one clinic; the others are missing, and the
# task that reads them has no prediction.


def scores(seed, same_causes):
    """Return R² on new patients of the small clinic, by sharing."""
    data, X_new, y_new = draw(seed, same_causes)
    X, y, features, _ = stack_tasks(data)
    X_new = pd.DataFrame(X_new, columns=features["small"])
    tasks = {name: Regression(features=features[name]) for name in data}
    found = {}
    for sharing in ("independent", "hard"):
        model = MultiTaskEstimator(
            tasks,
            sharing,
            hidden_layer_sizes=(16, 32),
            n_members=1,
            max_epochs=60,
            early_stopping=False,
            random_state=seed,
        ).fit(X, y)
        predicted = model.predict_frame(X_new.reindex(columns=X.columns))
        found[sharing] = r2_score(y_new, predicted["small"])
    return found


gains = {}
for same_causes, world in [(True, "same causes"), (False, "no relation")]:
    found = [scores(seed, same_causes) for seed in range(N_DRAWS)]
    alone = np.array([f["independent"] for f in found])
    gains[world] = np.array([f["hard"] for f in found]) - alone
    print(
        f"{world}: R² alone {alone.mean():.3f}, gain of sharing"
        f" {gains[world].mean():+.3f} ± {sem(gains[world]):.3f} (std. error)"
    )

# %%
# What it shows
# -------------
# A trunk that is shared helps the small clinic where both clinics have the same
# causes, and where they have nothing in common it neither helps nor harms much.
# The gain is small beside what is missing: how mixtures become causes is in the
# layer that each clinic has for itself, and for that it has sixty patients.

figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for place, gain in enumerate(gains.values()):
    ax.plot(gain, np.full(len(gain), place), "o", alpha=0.6)
    ax.errorbar(gain.mean(), place + 0.15, xerr=sem(gain), fmt="ks", capsize=4)
ax.axvline(0, color="grey", lw=0.8)
ax.set_yticks(range(len(gains)), gains)
ax.set_ylim(-0.5, len(gains) - 0.5)
ax.set(
    xlabel="gain in R² of the small clinic (squares: mean, standard error)",
    title="Sharing a trunk with a clinic that measures other things",
)

path = Path("figures", "0110_two_data_sets.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
