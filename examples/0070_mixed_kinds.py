"""
Classes, grades and numbers in one network?
===========================================

`MultiTaskEstimator` learns targets of several kinds from one table: write what
each column of y is. Here, four questions about the people of a census: do they
earn more than 50,000 dollars, have they ever married, how far did they get at
school, and how old are they? Does one network that answers all four lose
against one for each?
"""

# %%
# The targets
# -----------
# Income and marriage are classes, age is a number, and school is a scale of
# five grades, from what the table calls education. Children have no grade yet:
# their label is missing. What became a target is no feature any more.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skmtl import MultiTaskEstimator, table_pipeline
from skmtl.datasets import load_census
from skmtl.metrics import make_task_scorer
from skmtl.tasks import Ordinal

GRADES = ["no high school", "some", "graduate", "college", "degree"]
GRADE_OF = {
    "Less than 1st grade": "no high school",
    "1st 2nd 3rd or 4th grade": "no high school",
    "5th or 6th grade": "no high school",
    "7th and 8th grade": "no high school",
    "9th grade": "some",
    "10th grade": "some",
    "11th grade": "some",
    "12th grade no diploma": "some",
    "High school graduate": "graduate",
    "Some college but no degree": "college",
    "Associates degree-occup /vocational": "college",
    "Associates degree-academic program": "college",
    "Bachelors degree(BA AB BS)": "degree",
    "Masters degree(MA MS MEng MEd MSW MBA)": "degree",
    "Prof school degree (MD DDS DVM LLB JD)": "degree",
    "Doctorate degree(PhD EdD)": "degree",
}

census = load_census(as_frame=True)
X = census.data.drop(columns=["education", "hs_college", "age"])
y = census.target.copy()
y["school"] = census.data["education"].astype(object).map(GRADE_OF)
y["age"] = census.data["age"]
print(f"{y['school'].isna().mean():.0%} of the rows have no grade of school")

tasks = {
    "income_50k": "classification",
    "never_married": "classification",
    "school": Ordinal(GRADES),
    "age": "regression",
}

# %%
# One network for all, and one for each
# -------------------------------------
# ``"hard"`` is one trunk for the four tasks, ``"independent"`` a trunk for each
# of them. Both are single networks, trained on the same rows, and both stop by
# the same rule. The score of a task is its skill: 1 is perfect, and 0 as good
# as the best constant, such as the mean age. So tasks of unlike kinds can be
# compared, and averaged. Few rows first, then many, on five random splits each.

SIZES = [200, 2000]
SHARINGS = ["independent", "hard"]
score_tasks = make_task_scorer("default")
skills = np.zeros((len(SIZES), len(SHARINGS), 5, len(tasks)))
for seed in range(5):
    for i, size in enumerate(SIZES):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=size, random_state=seed
        )
        for j, sharing in enumerate(SHARINGS):
            model = table_pipeline(
                MultiTaskEstimator(
                    tasks,
                    sharing,
                    n_members=1,
                    max_epochs=40,
                    early_stopping=True,
                    random_state=seed,
                )
            ).fit(X_train, y_train)
            scores = score_tasks(model, X_test, y_test)
            skills[i, j, seed] = [scores[name] for name in tasks]

for i, size in enumerate(SIZES):
    print(f"{size} rows: mean skill of five splits")
    for k, name in enumerate(tasks):
        alone, shared = skills[i, :, :, k]
        difference = shared - alone
        print(
            f"  {name:14s} alone {alone.mean():6.3f}, shared"
            f" {shared.mean():6.3f}, difference {difference.mean():+.3f}"
            f" ({difference.min():+.3f} to {difference.max():+.3f})"
        )

# %%
# What is predicted
# -----------------
# `predict` returns a column per task, each in its own labels, and
# `predict_proba` the probabilities of those tasks that have classes.

columns = dict(zip(tasks, model.predict(X_test[:3]).T, strict=True))
for name, values in columns.items():
    print(f"{name:14s} {values.tolist()}")
grades = model.predict_proba(X_test[:1])["school"][0].round(2).tolist()
print("school of the first:", dict(zip(GRADES, grades, strict=True)))

# %%
# What it shows
# -------------
# One network answers all four questions no worse than four trunks do. It gains
# a little, in all five splits, for school with 200 rows and for income, which
# is rare, with 2,000; everything else changes sign from split to split. So what
# is gained here is one model instead of four, and not much besides. Ten times
# as many rows help every task more than the other tasks do.

figure, axes = plt.subplots(
    1, 2, figsize=(8.8, 4.4), sharey=True, layout="constrained"
)
for ax, of_size, size in zip(axes, skills, SIZES, strict=True):
    for j, (label, colour) in enumerate(
        [("a trunk for each", "tab:blue"), ("one trunk", "tab:orange")]
    ):
        places = np.arange(len(tasks)) + 0.24 * j - 0.12
        ax.bar(places, of_size[j].mean(axis=0), 0.22, alpha=0.5, color=colour)
        for values in of_size[j]:
            ax.plot(places, values, ".", color=colour, ms=5)
        ax.plot([], [], "s", color=colour, label=label)
    ax.set_xticks(range(len(tasks)), tasks, rotation=20)
    ax.set_title(f"{size} rows")
axes[0].set_ylabel("skill (dots: five splits)")
handles = axes[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside upper center", ncols=2)

path = Path("figures", "0070_mixed_kinds.png")
path.parent.mkdir(exist_ok=True)
figure.savefig(path, dpi=120)
print(f"\nFigure: {path}")
