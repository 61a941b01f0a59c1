"""School data: 139 schools, one task each, and every row belongs to one school.

y becomes 139 columns with one label in each row. Soft sharing of linear towers, heads tied, is mean-regularised
multi-task learning; its λ is chosen by an inner hold-out, and the curve over λ has its hump between independent
schools (left) and one tied model (right). Ridge baselines and the exact solution run in the same splits.
"""

from __future__ import annotations

import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, mean_std, print_table
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.model_selection import sharing_path
from skmtl.sharing import SoftSharing

LAMBDAS = [1e-5, 1e-4, 1e-3, 3e-3, 6e-3, 1e-2, 2e-2, 1e-1, 1e3]  # the last ties all towers
DECAYS = [0.03, 0.1, 0.3]
COMMON = {"optimizer": "adam", "max_epochs": 20, "random_state": 0, **ONE_NETWORK}
LINEAR = {"hidden_layer_sizes": (), "batch_size": 2048, "lr": 0.03, **COMMON}
HARD = {"batch_size": 1024, "lr": 0.003, **COMMON}
PROTOCOL = """Protocol: random splits, 75 % of each school for training. Score: explained variance in % over ALL test
rows, 100 (1 - SSE/SST), rows of all schools together. λ, weight decay and ridge's alpha of every arm by a hold-out of
20 % of each school's training rows, then refitted on all of them. Features standardised on the training rows.
Linear arms: {linear}.
Hard: {hard}, one relu layer.
"""


class Table:
    """Training and test rows of one split."""

    def __init__(self, X, y, school, train, test):
        scaler = StandardScaler().fit(X[train])
        self.X, self.X_test = (scaler.transform(X[rows]).astype(np.float32) for rows in (train, test))
        self.y, self.y_test = y[train], y[test]
        self.school, self.school_test = school[train], school[test]
        self.n_schools = int(school.max()) + 1

    def columns(self):
        """Return y with a column for each school, NaN in the others."""
        columns = np.full((len(self.y), self.n_schools), np.nan, dtype=np.float32)
        columns[np.arange(len(self.y)), self.school] = self.y
        return columns

    def score(self, predicted):
        """Return the explained variance in % over all test rows."""
        residual, spread = self.y_test - predicted, self.y_test - self.y_test.mean()
        return 100.0 * (1.0 - residual @ residual / (spread @ spread))


def part_of_each(school, share, random):
    """Return train and test positions with this share of each school in test."""
    test = np.zeros(len(school), dtype=bool)
    for s in np.unique(school):
        rows = random.permutation(np.flatnonzero(school == s))
        test[rows[: round(share * len(rows))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def network(table, **parameters):
    """Return the score of a network: each row is read in its own school's column."""
    model = MultiTaskRegressor(**parameters).fit(table.X, table.columns())
    predicted = model.predict(table.X_test)
    return table.score(predicted[np.arange(len(predicted)), table.school_test])


def soft(table, sharing_lambda):
    """Score mean-regularised linear towers."""
    sharing = SoftSharing(tie_heads=True)
    return network(table, sharing=sharing, sharing_lambda=sharing_lambda, **LINEAR)


def independent(table, weight_decay):
    """Score linear towers with nothing shared."""
    return network(table, sharing="independent", weight_decay=weight_decay, **LINEAR)


def hard(table, width):
    """Score one trunk with a head per school."""
    return network(table, sharing="hard", hidden_layer_sizes=(width,), weight_decay=0.1, **HARD)


def ridge_each(table, alpha):
    """Score a ridge regression per school."""
    predicted = np.empty(len(table.y_test))
    for s in range(table.n_schools):
        rows, out = table.school == s, table.school_test == s
        predicted[out] = Ridge(alpha).fit(table.X[rows], table.y[rows]).predict(table.X_test[out])
    return table.score(predicted)


def ridge_pooled(table, alpha):
    """Score one ridge regression for all schools."""
    return table.score(Ridge(alpha).fit(table.X, table.y).predict(table.X_test))


def ridge_one_hot(table, alpha):
    """Score one ridge regression with an indicator of each school."""
    schools = np.eye(table.n_schools)
    model = Ridge(alpha).fit(np.c_[table.X, schools[table.school]], table.y)
    return table.score(model.predict(np.c_[table.X_test, schools[table.school_test]]))


def exact(table, sharing_lambda):
    """Score the exact minimiser of the objective of `soft` without weight decay, in float64."""
    X, X_test = (np.c_[Z, np.ones(len(Z))].astype(float) for Z in (table.X, table.X_test))
    rows = [table.school == s for s in range(table.n_schools)]
    mean, std = (np.array([f(table.y[r]) for r in rows]) for f in (np.mean, np.std))
    pull = 4.0 * table.n_schools * sharing_lambda
    ridge = (pull + 1e-9) * np.eye(X.shape[1])
    inverse = np.array([np.linalg.inv(X[r].T @ X[r] / r.sum() + ridge) for r in rows])
    moment = np.array([X[r].T @ ((table.y[r] - m) / s) / r.sum() for r, m, s in zip(rows, mean, std, strict=True)])
    own = np.einsum("tij,tj->ti", inverse, moment)
    centre = np.linalg.lstsq(np.eye(X.shape[1]) - pull * inverse.mean(0), own.mean(0), rcond=1e-10)[0]
    theta = own + pull * inverse @ centre
    s = table.school_test
    return table.score((X_test * theta[s]).sum(1) * std[s] + mean[s])


ARMS = {
    "ridge per school": (ridge_each, [3, 10, 30, 100]),
    "ridge pooled": (ridge_pooled, [1, 10, 100]),
    "ridge pooled + school one-hot": (ridge_one_hot, [1, 10, 100]),
    "mean-regularised, exact": (exact, LAMBDAS[2:-1]),
    "skmtl independent (linear)": (independent, DECAYS),
    "skmtl hard": (hard, [8, 32]),
    "skmtl soft (linear, heads tied), λ chosen": (soft, LAMBDAS),
    "skmtl soft, λ = 1000: tied": (soft, [LAMBDAS[-1]]),
}


def best(arm, candidates, inner):
    """Return the candidate that the inner hold-out prefers."""
    return candidates[int(np.argmax([arm(inner, c) for c in candidates]))] if len(candidates) > 1 else candidates[0]


def one_split(X, y, school, seed):
    """Return the test score and the choice of each arm, and the curve over λ on the test rows."""
    random = np.random.RandomState(seed)
    train, test = part_of_each(school, 0.25, random)
    fit, held_out = part_of_each(school[train], 0.20, random)
    outer, inner = Table(X, y, school, train, test), Table(X, y, school, train[fit], train[held_out])
    curve = {lam: soft(outer, lam) for lam in LAMBDAS}
    result = {}
    for name, (arm, candidates) in ARMS.items():
        chosen = best(arm, candidates, inner)
        result[name] = (curve[chosen] if arm is soft else arm(outer, chosen), chosen)
    told = (f"{name} {score:.1f} ({chosen:g})" for name, (score, chosen) in result.items())
    print(f"split {seed}, score (choice): {', '.join(told)}", flush=True)
    return result, curve


def path(X, y, school, lambdas, folds=4):
    """Return the path over λ by `sharing_path`: R² of each school's own held-out rows, and their mean over schools."""
    table = Table(X, y, school, np.arange(len(y)), np.arange(len(y)))  # standardised on all rows, for its shape only
    model = MultiTaskRegressor(sharing=SoftSharing(tie_heads=True), **LINEAR)
    return sharing_path(model, table.X, table.columns(), sharing_lambdas=[0.0, *lambdas], cv=folds)


def main():
    """Measure and print."""
    full = begin("School: soft sharing over 139 tasks with one label in each row")
    print(PROTOCOL.format(linear=LINEAR, hard=HARD))
    X, y, meta = load("school")
    n_splits = 10 if full else 2
    results, curves = zip(*(one_split(X, y[:, 0], meta["domain"], seed) for seed in range(n_splits)), strict=True)
    print(f"\nExplained variance in % of all test rows, mean ± std over {n_splits} splits:\n")
    rows = [[name, mean_std([r[name][0] for r in results], 2)] for name in ARMS]
    print_table(["arm", "explained variance"], rows)
    print("soft over λ (test rows, refitted on all training rows; 0 is independent, 1000 tied):\n")
    print_table(["λ", "explained variance"], [[f"{lam:g}", mean_std([c[lam] for c in curves], 2)] for lam in LAMBDAS])
    if full:
        found = path(X, y[:, 0], meta["domain"], LAMBDAS)
        print("sharing_path, 4 folds, mean over schools of each school's R² (not pooled, as above):\n")
        best = found.best_lambda_mean
        means = zip(found.sharing_lambdas, found.mean, strict=True)
        print_table(["λ", "mean R²"], [[f"{lam:g}{' (best)' * (lam == best)}", f"{r2:.4f}"] for lam, r2 in means])


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
