"""
How do I learn ratings and clicks of users and items together?
==============================================================

A shop knows who clicked on what, and has a rating from those who clicked and
cared to give one. Both are questions about the same users and items: a vector
for each user and each item may serve both. The data are drawn from vectors that
both questions have in common, so this is the case that sharing is made for.
"""

# %%
# Users, items, clicks and ratings
# --------------------------------

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from skmtl import MultiTaskEstimator
from skmtl.encoders import Embeddings

N_USERS, N_ITEMS, N_PAIRS, SEEDS, EPOCHS = 100, 80, 12000, 2, 40


def shop(seed):
    """Return pairs of users and items, and what was seen of each."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(N_USERS, 2))
    items = rng.normal(size=(N_ITEMS, 2))
    user = rng.integers(N_USERS, size=N_PAIRS)
    item = rng.integers(N_ITEMS, size=N_PAIRS)
    taste = (users[user] * items[item]).sum(1) / 1.4
    popular = rng.normal(size=N_ITEMS)[item]
    clicked = rng.random(N_PAIRS) < 1 / (1 + np.exp(1 - 2 * taste - popular))
    stars = 3 + taste + rng.normal(scale=0.5, size=N_PAIRS)
    stars[~clicked | (rng.random(N_PAIRS) > 0.4)] = np.nan
    X = pd.DataFrame({"user": user, "item": [f"item {k}" for k in item]})
    return X, pd.DataFrame({"click": clicked, "stars": stars})


# %%
# One vector for both, or one for each
# ------------------------------------
# The same number of steps for all strategies. Vectors of ids overfit fast;
# weight decay is what holds them. With `"attention"` each task reads the shared
# vectors in its own way.

strategies = ("independent", "hard", "attention")
scores = {sharing: [] for sharing in strategies}
for seed in range(SEEDS):
    X, y = shop(seed)
    train, test = slice(0, N_PAIRS // 2), slice(N_PAIRS // 2, None)
    rated = y["stars"][test].notna()
    for sharing in strategies:
        model = MultiTaskEstimator(
            {"click": "classification", "stars": "regression"},
            sharing,
            encoder=Embeddings(["user", "item"], dim=8),
            hidden_layer_sizes=(32,),
            n_members=1,
            weight_decay=1.0,
            max_epochs=EPOCHS,
            early_stopping=False,
            random_state=seed,
        ).fit(X[train], y[train])
        chance = model.predict_proba(X[test])["click"][:, 1]
        stars = model.task("stars").predict(X[test])[rated]
        error = np.sqrt(np.mean((stars - y["stars"][test][rated]) ** 2))
        auc = roc_auc_score(y["click"][test], chance)
        scores[sharing].append((auc, error))
for sharing, found in scores.items():
    auc, error = np.mean(found, axis=0)
    print(f"{sharing:12s} click: AUC {auc:.3f}   stars: RMSE {error:.3f}")

# %%
# A trunk that both tasks must agree on costs clicks more than it gives ratings.
# With attention the ratings, which few pairs have, gain much from the clicks,
# and the clicks lose nothing.

# %%
# Somebody new
# ------------
# A user that `fit` has not seen has no taste yet: items are ranked by what all
# others thought of them.

items = [f"item {k}" for k in range(N_ITEMS)]
new = pd.DataFrame({"user": -1, "item": items})
known = pd.DataFrame({"user": 7, "item": items})
chance_new, chance_known = (
    model.predict_proba(table)["click"][:, 1] for table in (new, known)
)
print(
    "for a new user:", *np.array(items)[np.argsort(-chance_new)[:3]], sep="  "
)
print(
    "for user 7:    ", *np.array(items)[np.argsort(-chance_known)[:3]], sep="  "
)

figure, axes = plt.subplots(figsize=(4.5, 4))
axes.scatter(chance_new, chance_known, s=12)
axes.set_xlabel("chance of a click, new user")
axes.set_ylabel("chance of a click, user 7")
figure.tight_layout()
