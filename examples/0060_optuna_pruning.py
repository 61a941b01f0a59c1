"""
Can Optuna stop bad candidates early?
=====================================

Yes: a network often shows after a few epochs whether it will be good.
``OptunaSearchCV`` trains each candidate epoch by epoch with ``partial_fit``,
scores it after each, and drops it where it falls behind the earlier ones. The
time goes to candidates that deserve it.

Optuna and its scikit-learn integration are not installed with skmtl. From a
checkout: ``pip install "optuna>=4.5" "optuna-integration>=4.5"``.
"""

# %%
# The search
# ----------
# Half of the heating and half of the cooling loads are hidden. Optuna needs
# ``partial_fit``, which a pipeline does not have, so the features are scaled
# beforehand. The folds must be the same in each epoch: `MultiTaskKFold` with a
# ``random_state``. The score is the estimator's own, the mean R² over tasks on
# observed labels, which skips missing ones; a scorer that returns a number per
# task would not do, for Optuna wants one number.

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy
from skmtl.model_selection import MultiTaskKFold

try:
    import optuna
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna_integration import OptunaSearchCV
except ImportError:
    print('Needs Optuna: pip install "optuna>=4.5" "optuna-integration>=4.5"')
    raise SystemExit(0) from None

N_EPOCHS, N_CANDIDATES = 25, 16

X, y = load_energy(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
rng = np.random.default_rng(0)
for column in y_train.T:
    column[rng.permutation(len(column))[: len(column) // 2]] = np.nan
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

optuna.logging.set_verbosity(optuna.logging.WARNING)
for category in (optuna.exceptions.ExperimentalWarning, FutureWarning):
    warnings.filterwarnings("ignore", category=category)  # Optuna's own parts
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
)
network = MultiTaskRegressor(
    n_members=1,
    batch_size=32,
    max_epochs=N_EPOCHS,
    early_stopping=False,
    random_state=0,
)
search = OptunaSearchCV(
    network,
    {
        "sharing": CategoricalDistribution(("independent", "hard", "soft")),
        "sharing_lambda": FloatDistribution(1e-4, 10.0, log=True),
        "hidden_layer_sizes": IntDistribution(16, 128, log=True),
        "lr": FloatDistribution(1e-3, 2e-2, log=True),
        "weight_decay": FloatDistribution(1e-3, 1.0, log=True),
    },
    cv=MultiTaskKFold(3, random_state=0),
    enable_pruning=True,
    max_iter=N_EPOCHS,
    n_trials=N_CANDIDATES,
    study=study,
    error_score="raise",
).fit(X_train, y_train)

# %%
# What was saved, and what was found
# ----------------------------------
# ``max_iter`` passes of ``partial_fit`` are the same length of training as the
# ``max_epochs`` of the last fit, which is an ordinary one on all training rows:
# ``partial_fit`` neither stops early nor trains ten networks by default, and
# with ``early_stopping=False`` and ``n_members=1`` neither does the last fit.

curves = [
    np.array(list(trial.intermediate_values.values()))
    for trial in search.trials_
]
PRUNED = optuna.trial.TrialState.PRUNED
is_pruned = [trial.state == PRUNED for trial in search.trials_]
n_trained = sum(len(curve) for curve in curves)
n_full = N_CANDIDATES * N_EPOCHS
print(f"{sum(is_pruned)} of {N_CANDIDATES} candidates were dropped early.")
print(f"{n_trained} epochs were trained instead of {n_full}, in each fold.")
for name, value in search.best_params_.items():
    print(f"  {name} = {value:.3g}" if isinstance(value, float) else
          f"  {name} = {value}")  # fmt: skip
chosen = search.best_estimator_.score(X_test, y_test)
unsearched = network.fit(X_train, y_train).score(X_test, y_test)
print(f"R2 in cross-validation, mean of both loads: {search.best_score_:.3f}")
print(f"R2 on test rows: chosen {chosen:.3f}, no search {unsearched:.3f}")

# %%
# The figure
# ----------
# Each line is a candidate. A dot is where it was dropped: its best score so far
# was below the median of the earlier candidates' scores after as many epochs.
# The first five are never dropped: there is no median yet to go by.

figure, ax = plt.subplots(figsize=(7.0, 4.9), layout="constrained")
for curve, pruned in zip(curves, is_pruned, strict=True):
    epochs = np.arange(1, len(curve) + 1)
    ax.plot(epochs, curve, color="0.6" if pruned else "tab:blue", lw=1.2)
    if pruned:
        ax.plot(epochs[-1], curve[-1], "o", color="0.4", ms=5)
best = curves[search.best_index_]
ax.plot(np.arange(1, len(best) + 1), best, color="tab:orange", lw=2.5)
ax.plot([], [], color="0.6", marker="o", label="dropped")
ax.plot([], [], color="tab:blue", label="trained to the end")
ax.plot([], [], color="tab:orange", lw=2.5, label="chosen")
lowest = min(curve[-1] for curve in curves)  # all ends are in view
ax.set_ylim(lowest - 0.05, 1.02)
ax.set_title(f"{n_trained} epochs instead of {n_full}")
ax.set(
    xlabel="epoch (one partial_fit)",
    ylabel="R² on held-out folds, mean of two loads",
)
ax.legend(loc="lower right")

path = Path("figures", "0060_optuna_pruning.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
