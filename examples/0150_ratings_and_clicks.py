"""
How do I recommend items from clicks and ratings?
=================================================

A shop knows who clicked on what, and has a rating from those who clicked and
cared to give one. Nobody wrote down what was not clicked. Both are questions
about the same users and items: a vector for each user and each item may serve
both. The data are drawn from vectors that both questions have in common, so
this is the case that sharing is made for.
"""

# %%
# Clicks, and ratings of some of them
# -----------------------------------

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skmtl import MultiTaskEstimator
from skmtl.encoders import Embeddings
from skmtl.metrics import make_ranking_scorer, ndcg_at_k
from skmtl.tasks import Classification

N_USERS, N_ITEMS, SEEDS, EPOCHS, K = 200, 200, 2, 30, 10


def shop(seed):
    """Return what was clicked and what was said of it, to learn and to test."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(N_USERS, 2))
    items = rng.normal(size=(N_ITEMS, 2))
    taste = users @ items.T / 1.4
    chance = 1 / (1 + np.exp(3 - 2 * taste - 0.5 * rng.normal(size=N_ITEMS)))
    user, item = np.nonzero(rng.random(chance.shape) < chance)
    stars = 3 + taste[user, item] + rng.normal(scale=0.5, size=len(user))
    stars[rng.random(len(user)) > 0.4] = np.nan
    X = pd.DataFrame({"user": user, "item": [f"item {k}" for k in item]})
    y = pd.DataFrame({"click": 1, "stars": stars})
    test = rng.random(len(X)) < 0.3
    return X[~test], y[~test], X[test], y[test]


X, y, X_test, y_test = shop(0)
print(
    f"{len(X)} clicks to learn from, {y['stars'].notna().sum()} of them rated"
)

# %%
# One vector for both, or one for each
# ------------------------------------
# All labels of clicks are 1. `negatives=4` lets `fit` draw, for each click,
# four items that the user has not been seen with. The scorer recommends ten
# items to each user, without those of the training rows, and asks where the
# clicks held out are among them. All strategies take equally many steps;
# vectors of ids overfit fast, and weight decay is what holds them.

scorer = make_ranking_scorer("click", user="user", k=K, candidates="items")


def learn(sharing, negatives, seed, X, y):
    """Return a fitted network."""
    return MultiTaskEstimator(
        {"click": Classification(negatives=negatives), "stars": "regression"},
        sharing,
        encoder=Embeddings(["user", "item"], dim=8),
        hidden_layer_sizes=(32,),
        n_members=1,
        weight_decay=0.2,
        lr=0.02,
        batch_size=512,
        max_epochs=EPOCHS,
        early_stopping=False,
        random_state=seed,
    ).fit(X, y)


def by_popularity(X, X_test):
    """Return the NDCG of the most clicked items, without those clicked."""
    counts = X["item"].value_counts()
    clicks = pd.crosstab(X_test["user"], X_test["item"])
    clicks = clicks.reindex(columns=counts.index, fill_value=0)
    score = pd.DataFrame(1.0, clicks.index, clicks.columns) * counts
    seen = pd.crosstab(X["user"], X["item"]).reindex_like(clicks) > 0
    score = score.mask(seen, -1.0)
    users = np.repeat(clicks.index, len(counts))
    return ndcg_at_k(
        clicks.to_numpy().ravel(), score.to_numpy().ravel(), users, K
    )


strategies = ("independent", "hard")
scores = {sharing: [] for sharing in strategies}
popular, models = [], {}
for seed in range(SEEDS):
    X, y, X_test, y_test = shop(seed)
    rated = y_test["stars"].notna()
    popular.append(by_popularity(X, X_test))
    for sharing in strategies:
        model = models[sharing] = learn(sharing, 4, seed, X, y)
        stars = model.task("stars").predict(X_test)[rated]
        error = np.sqrt(np.mean((stars - y_test["stars"][rated]) ** 2))
        scores[sharing].append((scorer(model, X_test, y_test), error))
print(f"{'popularity':12s} click: NDCG {np.mean(popular):.3f}")
for sharing, found in scores.items():
    ndcg, error = np.mean(found, axis=0)
    print(f"{sharing:12s} click: NDCG {ndcg:.3f}   stars: RMSE {error:.3f}")

# %%
# Where both questions have their own vectors, each is learned from too little.
# Ratings, which few clicks have, and clicks both gain from one vector for both.

# %%
# How many negatives?
# -------------------
# A search would try `tasks__click__negatives`; here is what it would see. Try
# `weight_decay` with it: the more rows are negative, the less decay the vectors
# of those that are clicked on can bear.

X, y, X_test, y_test = shop(0)
curve = {
    n: scorer(learn("hard", n, 0, X, y), X_test, y_test) for n in (1, 2, 8)
}
curve[4] = scores["hard"][0][0]

figure, axes = plt.subplots(figsize=(4.5, 3.2))
numbers = sorted(curve)
axes.plot(
    numbers, [curve[n] for n in numbers], marker="o", label="hard sharing"
)
axes.axhline(popular[0], color="0.6", linestyle="--", label="popularity")
axes.set_xlabel("negatives for each click")
axes.set_ylabel(f"NDCG@{K}, clicks held out")
axes.set_ylim(0)
axes.legend()
figure.tight_layout()

# %%
# The best items for somebody
# ---------------------------
# A user that `fit` has not seen has no taste yet: items are ranked by what all
# others thought of them.

view = models["hard"].task("click")
print(view.recommend([7, "somebody new"], k=3).to_string(index=False))
