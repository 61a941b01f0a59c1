"""
How do I fit my first multi-task network?
=========================================

Twice, on real data that comes with the package: two loads of a building
(regression), and two facts about a person (classification) from a table of
mostly nominal columns in which half of the income labels are missing.
"""

# %%
# Regression: heating and cooling load
# ------------------------------------
# A network with one trunk (``sharing="hard"``) predicts both loads. `fit`
# trains ten of them, and `predict` returns their mean. Each holds out a tenth
# of the rows and stops when it no longer improves on them, at the latest after
# ``max_epochs``. Scale the features, as for every neural network. The targets
# are scaled inside `fit`, and predictions come back in the units of ``y``.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.metrics import RocCurveDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.datasets import load_census, load_energy
from skmtl.metrics import make_task_scorer

buildings, loads = load_energy(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(
    buildings, loads, random_state=0
)

energy = make_pipeline(
    StandardScaler(),
    MultiTaskRegressor(sharing="hard", max_epochs=300, random_state=0),
)
energy.fit(X_train, y_train)
predicted = energy.predict(X_test)

explained = make_task_scorer("r2")(energy, X_test, y_test)
print("Energy: R2 on held-out buildings")
for task, score in explained.items():
    print(f"  {task:14s} {score:.3f}")

# %%
# Every building that was held out, against the data:

path = Path("figures", "0010_first_fit.png")
path.parent.mkdir(exist_ok=True)

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
for t, task in enumerate(y_test):
    label = f"{task.replace('_', ' ')} (R² = {explained[task]:.3f})"
    ax.scatter(y_test[task], predicted[:, t], s=12, alpha=0.7, label=label)
ax.axline((25, 25), slope=1, color="black", lw=0.8)
ax.set(
    xlabel="load in the data",
    ylabel="predicted load",
    title="Energy: two loads of held-out buildings",
)
ax.legend()
figure.savefig(path, dpi=120)

# %%
# Classification: income and marital status
# -----------------------------------------
# Half of the income labels are missing. A missing label is NaN (or None, or NA)
# in ``y``. Rows without an income label still train the trunk through their
# other label. Nominal columns are one-hot encoded by an ordinary column
# transformer.

census = load_census(as_frame=True)
persons, persons_test, labels, labels_test = train_test_split(
    census.data, census.target, random_state=0
)
labels = labels.astype(float)
is_hidden = np.random.default_rng(0).random(len(labels)) < 0.5
labels.loc[is_hidden, "income_50k"] = np.nan

encoder = make_column_transformer(
    (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        make_column_selector(dtype_include="category"),
    ),
    remainder=StandardScaler(),
)
who = make_pipeline(
    encoder,
    MultiTaskClassifier(sharing="hard", max_epochs=10, random_state=0),
)
who.fit(persons, labels)

share = labels["income_50k"].isna().mean()
scores = make_task_scorer("roc_auc")(who, persons_test, labels_test)
print(f"\nCensus: {share:.0%} of the income labels missing")
print("ROC-AUC on held-out persons")
for task, score in scores.items():
    print(f"  {task:14s} {score:.3f}")

# %%
# ``predict_proba`` returns one array per task, as scikit-learn's random forests
# do:

figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
probabilities = who.predict_proba(persons_test)
for task, probability in zip(census.target_names, probabilities, strict=True):
    RocCurveDisplay.from_predictions(
        labels_test[task],
        probability[:, 1],
        name=task.replace("_", " "),
        ax=ax,
    )
ax.set(
    xlabel="false positive rate",
    ylabel="true positive rate",
    title="Census: two facts about held-out persons",
)
figure.savefig(path.with_stem("0010_first_fit_census"), dpi=120)
print(f"\nFigures: {path} and {path.with_stem('0010_first_fit_census')}")
