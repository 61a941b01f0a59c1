"""
Did sharing help?
=================

Ask each task. `transfer_gain` fits the network with sharing and the same
network with nothing shared, on the same folds and from the same seed, and
reports for every task whether it gained, lost, or cannot be told apart from
chance.
"""

# %%
# Twelve tasks, eight of them related
# -----------------------------------
# Tasks 0 to 7 have much in common, the others nothing with any other; 85 % of
# the labels are missing. Attention sharing does not know which are related. By
# default an estimator trains ten networks; to compare, one without early
# stopping takes less time, and learns from every label of its folds.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy, make_related_regression
from skmtl.model_selection import transfer_gain

sizes = {
    "n_samples": 600,
    "n_features": 6,
    "noise": 0.3,
    "missing": 0.85,
    "random_state": 0,  # the same X in both calls
}
X, related = make_related_regression(n_tasks=8, relatedness=0.95, **sizes)
_, unrelated = make_related_regression(n_tasks=4, relatedness=0.0, **sizes)
names = [f"related {t}" for t in range(8)]
names += [f"unrelated {t}" for t in range(4)]
y = pd.DataFrame(np.hstack([related, unrelated]), columns=names)

one = {"n_members": 1, "early_stopping": False, "random_state": 0}
attention = MultiTaskRegressor(sharing="attention", max_epochs=30, **one)
synthetic = transfer_gain(attention, X, y)
print(synthetic)
print(f"Mean gain of related tasks {synthetic.gain[:8].mean():+.3f},")
print(f"of unrelated ones {synthetic.gain[8:].mean():+.3f}")

# %%
# Real data: heating and cooling load
# -----------------------------------
# Every label is known, and each load can be learned alone.

buildings, loads = load_energy(return_X_y=True, as_frame=True)
hard = make_pipeline(
    StandardScaler(),
    MultiTaskRegressor(sharing="hard", **one),
)
energy = transfer_gain(hard, buildings, loads)
print(f"\n{energy}")

# %%
# What it shows
# -------------
# Related tasks gain on average and unrelated ones lose, as one would expect.
# But a fold tests a task on fewer than twenty labels here, and few differences
# are so large that one could be sure of them: an interval that contains 0 is no
# proof that sharing did nothing. On the energy data the differences are small
# and their intervals narrow.
#
# The networks are compared with each other only. That a task gained does not
# mean that no other model is better.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(8.8, 5.0), width_ratios=[5, 3], layout="constrained"
)
synthetic.plot(left).legend(loc="upper left", fontsize="small")
left.set_title("Synthetic, attention sharing")
energy.plot(right).legend(loc="lower right", fontsize="small")
right.set_title("Energy, hard sharing")
right.set_ylim(-0.6, 1.6)
right.locator_params(axis="x", nbins=3)

path = Path("figures", "0050_did_sharing_help.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
