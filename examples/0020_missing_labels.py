"""
What are rows with missing labels worth?
========================================

Often a row has been labelled for one task and not for another. One can drop such rows, train each task alone on the
rows that have its label, or train one network on every label there is. Here labels of the two energy tasks are hidden
at random, a growing share of them, and the three ways are compared on the same held-out buildings.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy

SHARES = [0.0, 0.5, 0.7, 0.8, 0.9]
SEEDS = range(3)


def hide(y, share, rng):
    """Return y with that share of each column missing."""
    hidden = y.copy()
    for column in hidden.T:
        column[rng.permutation(len(y))[: round(share * len(y))]] = np.nan
    return hidden


def score(sharing, X, y, seed):
    """Return the mean R2 of the two tasks on the held-out buildings."""
    regressor = MultiTaskRegressor(sharing=sharing, max_epochs=100, random_state=seed)
    return make_pipeline(StandardScaler(), regressor).fit(X, y).score(X_test, y_test)


# %%
# Hide labels, fit, score
# -----------------------

X, y = load_energy(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

WAYS = ["rows with every label, one network", "every label, a network per task", "every label, one network"]
scores = {way: np.full((len(SHARES), len(SEEDS)), np.nan) for way in WAYS}
for s, share in enumerate(SHARES):
    for seed in SEEDS:
        observed = hide(y_train, share, np.random.default_rng(seed))
        complete = ~np.isnan(observed).any(axis=1)
        scores[WAYS[0]][s, seed] = score("hard", X_train[complete], observed[complete], seed)
        scores[WAYS[1]][s, seed] = score("independent", X_train, observed, seed)
        scores[WAYS[2]][s, seed] = score("hard", X_train, observed, seed)

print("R2 on held-out buildings, mean of both tasks and three draws")
print(f"{'share of labels missing':36s}" + "".join(f"{share:8.0%}" for share in SHARES))
for way in WAYS:
    print(f"{way:36s}" + "".join(f"{value:8.3f}" for value in scores[way].mean(axis=1)))

# %%
# The figure
# ----------

figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
for way in WAYS:
    mean, low, high = scores[way].mean(axis=1), scores[way].min(axis=1), scores[way].max(axis=1)
    (line,) = axes.plot(SHARES, mean, marker="o", label=way)
    axes.fill_between(SHARES, low, high, color=line.get_color(), alpha=0.15)
axes.set(xlabel="share of labels missing", ylabel="R2 on held-out buildings", title="Energy (band: three draws)")
axes.legend()

path = Path(__file__).parent / "figures" / "0020_missing_labels.png"
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path.relative_to(Path(__file__).parents[1])}")
