"""
How sure is the network?
========================

An ensemble has an answer: train ten networks that differ in their seed only, as
an estimator does by default, predict their mean, and take the spread of the
members, ``predict_std``, as a sign of doubt. Is it a good sign? The buildings
of the energy data have twelve shapes. Here one shape at a time is left out, six
times, and the ensemble is asked about shapes that it has seen and about the one
that it has not.
"""

# %%
# Leave out one shape at a time
# -----------------------------
# Sixty-four of the other buildings are held out as well, for comparison. The
# members of an ensemble are trained side by side. The seed of each also draws
# the tenth of the rows by which it stops early.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy

X, y = load_energy(return_X_y=True, as_frame=True)
shape = X["relative_compactness"].to_numpy()  # one value per shape
rng = np.random.default_rng(0)

stds, errors = {"seen": [], "new": []}, {"seen": [], "new": []}
alone = []  # errors of the first member, which is the network of n_members=1
for left_out in np.unique(shape)[::2]:
    others = rng.permutation(np.flatnonzero(shape != left_out))
    tests = {"seen": others[:64], "new": np.flatnonzero(shape == left_out)}
    model = make_pipeline(
        StandardScaler(), MultiTaskRegressor(n_members=10, random_state=0)
    ).fit(X.iloc[others[64:]], y.iloc[others[64:]])
    scaler, ensemble = model[0], model[-1]
    for name, rows in tests.items():
        scaled, truth = scaler.transform(X.iloc[rows]), y.to_numpy()[rows]
        stds[name].append(ensemble.predict_std(scaled))
        errors[name].append(np.abs(ensemble.predict(scaled) - truth))
    first = ensemble.predict_members(scaled)[0]
    alone.append(np.abs(first - truth))

print("buildings of a   mean error   mean std   error < 2 std   rank corr.")
for name in ("seen", "new"):
    error, std = np.concatenate(errors[name]), np.concatenate(stds[name])
    rank = spearmanr(error.ravel(), std.ravel()).statistic
    print(
        f"  {name + ' shape':14s} {error.mean():8.2f} {std.mean():11.2f}"
        f" {(error < 2 * std).mean():13.0%} {rank:13.2f}"
    )
print(
    f"One network on new shapes: mean error {np.concatenate(alone).mean():.2f}"
)

# %%
# What it shows
# -------------
# The spread is larger where the ensemble has seen nothing like the building,
# and it is rank-correlated with the error. So it can *order* rows: have the
# doubtful ones checked first. But it is far too small as an error bar, above
# all for new shapes: ten networks trained on nearly the same rows make the same
# mistake together. A large spread is a warning; a small one is no promise. And
# the mean of ten hardly predicts new shapes better than one network does here.
#
# Where you need intervals that hold, calibrate them on rows that were not
# used in training: conformal prediction (MAPIE, for instance) takes an
# estimator of one task. It holds for rows like those it was calibrated on, and
# so not for new shapes either.

figure, ax = plt.subplots(figsize=(6.8, 5.0), layout="constrained")
for name, colour in [("new", "tab:orange"), ("seen", "tab:blue")]:
    error, std = np.concatenate(errors[name]), np.concatenate(stds[name])
    ax.loglog(
        std.ravel(),
        error.ravel(),
        ".",
        ms=4,
        alpha=0.5,
        color=colour,
        label=f"{name} shape",
    )
ends = np.array([0.05, 10.0])
ax.loglog(ends, 2 * ends, color="black", lw=0.8, label="error = 2 std")
ax.set_ylim(1e-2, 60)
ax.set(
    xlabel="spread of the ten members (predict_std)",
    ylabel="error of the ensemble (absolute)",
    title="A large spread warns; a small one promises nothing",
)
ax.legend(loc="lower right")

path = Path("figures", "0066_how_sure.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
