"""Tasks of several kinds on real data: joint against alone, and each kind against what people write without it.

Both sides of a comparison train one network for equally many epochs of the same rows, without early stopping. Seeds
draw splits and weights.

Run: python tests/benchmarks/real_kinds.py [--full]
"""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from scipy.stats import sem
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

from skmtl import MultiTaskEstimator, TaskView, stack_tasks, table_pipeline
from skmtl.metrics import concordance_index
from skmtl.tasks import Censored, Chain, Classification, Hierarchy, Multilabel, Survival

warnings.simplefilter("ignore")
COX = 0.7916  # concordance of scikit-survival's Cox model on the same three splits; 0.8006 by five folds


def fit(tasks, X, y, seed: int, epochs: int, sharing: str = "hard", **params):
    """Return a fitted pipeline of one network."""
    options = {**ONE_NETWORK, "max_epochs": epochs, "random_state": seed, **params}
    return table_pipeline(MultiTaskEstimator(tasks, sharing, **options)).fit(X, y)


def shown(values) -> str:
    """Return 'mean ± standard error'."""
    return f"{np.mean(values):.4f} ± {sem(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def compare(what: str, measure: str, runs: list[dict]) -> list[list]:
    """Return a row for each side of a comparison, with the paired difference from the first."""
    first = next(iter(runs[0]))
    rows = []
    for side in runs[0]:
        values = [run[side] for run in runs]
        gain = "" if side == first else shown([run[side] - run[first] for run in runs])
        rows.append([what, measure, side, shown(values), gain])
    return rows


# ---- data -----------------------------------------------------------------------------------------------------------


def flchain(seeds, epochs: int) -> list[list]:
    """Survival, a class and a number of 7,874 people: together and each alone."""
    X, y, info = load("flchain")
    table = pd.DataFrame({"days": info["time"] + 0.5, "died": info["event"] * 1.0, "creatinine": y[:, 2]})
    table["cause"] = pd.Series(y[:, 3]).map(lambda code: None if np.isnan(code) else f"cause {int(code)}")
    rows = []
    for model in ("discrete", "cox"):
        tasks = {"death": Survival("days", "died", model=model), "creatinine": "regression", "cause": "classification"}
        runs = []
        for seed in seeds:
            train, test = train_test_split(np.arange(len(X)), test_size=0.2, random_state=seed)
            own = table.iloc[test]
            run = {}
            for side, kinds in (("alone", {"death": tasks["death"]}), ("together", tasks)):
                columns = ["days", "died"] if side == "alone" else list(table)
                fitted = fit(kinds, X[train], table[columns].iloc[train], seed, epochs)
                risk = TaskView(fitted, "death").predict(X[test])
                run[side] = concordance_index(own["days"], own["died"], risk)
            runs.append(run)
        rows += compare(f"flchain, survival ({model})", f"concordance (Cox {COX})", runs)
    return rows


def news20(seeds, epochs: int) -> list[list]:
    """Topic group and newsgroup of 11,000 posts, half of the fine labels missing: a hierarchy against two tasks."""
    X, y, info = load("news20")
    X, train, test = np.log1p(X).astype(np.float32), info["split"] < 2, info["split"] == 2
    runs = {"topic group": [], "newsgroup": [], "contradictions": []}
    parent = dict(zip(y[:, 1], y[:, 0], strict=True))
    for seed in seeds:
        table = pd.DataFrame(y[train].astype(int), columns=["group", "news"]).astype(object)
        table.loc[np.random.default_rng(seed).random(len(table)) < 0.5, "news"] = None
        found = {name: {} for name in runs}
        for side in ("two tasks", "hierarchy"):
            flat = {"group": "classification", "news": "classification"}
            tasks = flat if side == "two tasks" else {"topic": Hierarchy("group", "news")}
            options = {**ONE_NETWORK, "max_epochs": epochs, "random_state": seed}
            predicted = MultiTaskEstimator(tasks, **options).fit(X[train], table).predict(X[test])
            found["topic group"][side] = accuracy_score(y[test, 0], predicted[:, 0].astype(float))
            found["newsgroup"][side] = accuracy_score(y[test, 1], predicted[:, 1].astype(float))
            above = [parent[news] for news in predicted[:, 1].astype(float)]
            found["contradictions"][side] = float(np.mean(predicted[:, 0].astype(float) != above))
        for name, values in runs.items():
            values.append(found[name])
    return [row for name, values in runs.items() for row in compare("news20, half of fine labels", name, values)]


def hillstrom(seeds, epochs: int) -> list[list]:
    """Visit and conversion of 64,000 customers, conversions rare: a chain against two tasks."""
    X, y, _ = load("hillstrom")
    runs = {"AUC of visit": [], "AUC of conversion": [], "log loss of conversion": []}
    for seed in seeds:
        train, test = train_test_split(np.arange(len(X)), train_size=20_000, test_size=20_000, random_state=seed)
        table = pd.DataFrame(y[train, :2], columns=["visit", "conversion"])
        found = {name: {} for name in runs}
        for side in ("two tasks", "chain"):
            flat = {name: Classification() for name in table}
            tasks = flat if side == "two tasks" else {"funnel": Chain("visit", "conversion")}
            proba = fit(tasks, X[train], table, seed, epochs).predict_proba(X[test])
            visit, conversion = (
                proba["funnel"].T if side == "chain" else (proba[name][:, 1] for name in ("visit", "conversion"))
            )
            found["AUC of visit"][side] = roc_auc_score(y[test, 0], visit)
            found["AUC of conversion"][side] = roc_auc_score(y[test, 1], conversion)
            found["log loss of conversion"][side] = log_loss(y[test, 1], conversion.astype(float))
        for name, values in runs.items():
            values.append(found[name])
    return [row for name, values in runs.items() for row in compare("hillstrom", name, values)]


def censored(seeds, epochs: int) -> list[list]:
    """Seven torques of a robot's arm; labels above a limit that differs from row to row are only known to exceed it."""
    X, y, _ = load("sarcos")
    runs = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        train, test = train_test_split(np.arange(len(X)), train_size=1500, test_size=2000, random_state=seed)
        own = y[train]
        limit = np.median(own, axis=0) + own.std(axis=0) * rng.normal(0, 0.7, own.shape)
        above = own > limit
        names = [f"t{k}" for k in range(y.shape[1])]
        values = pd.DataFrame(np.where(above, limit, own), columns=names)
        sides = {
            "dropped": (dict.fromkeys(names, "regression"), values.mask(above)),
            "bounds as values": (dict.fromkeys(names, "regression"), values),
            "Tobit": (
                {name: Censored(f"{name} is") for name in names},
                values.assign(**{f"{name} is": np.where(above[:, k], ">", "=") for k, name in enumerate(names)}),
            ),
        }
        run = {}
        for side, (tasks, table) in sides.items():
            predicted = fit(tasks, X[train], table, seed, epochs).predict(X[test])
            run[side] = r2_score(y[test], predicted)
        runs.append(run)
    return compare("sarcos, labels above a limit", "R²", runs)


def census(seeds, epochs: int) -> list[list]:
    """Two classes, a grade and a number of 3,000 people: together and each alone."""
    X, y, info = load("census")
    names = list(info["feature_names"])
    age, education = X[:, names.index("age")], X[:, names.index("education")]
    kept = [k for k, name in enumerate(names) if name not in ("age", "education", "hs_college")]
    table = pd.DataFrame({"income": y[:, 0], "never_married": y[:, 1], "age": age}).astype(object)
    table["education"] = education
    tasks = {"income": "classification", "never_married": "classification", "age": "regression"}
    tasks["education"] = "classification"
    runs = {name: [] for name in tasks}
    for seed in seeds:
        train, test = train_test_split(np.arange(len(X)), train_size=3000, test_size=5000, random_state=seed)
        nominal = [kept.index(names.index(n)) for n in info["nominal_features"] if names.index(n) in kept]
        scores = {}
        for side, sharing in (("alone", "independent"), ("together", "hard")):
            pipe = table_pipeline(
                MultiTaskEstimator(tasks, sharing, **ONE_NETWORK, max_epochs=epochs, random_state=seed)
            ).set_params(table__categorical=nominal)
            pipe.fit(X[train][:, kept], table.iloc[train])
            scores[side] = pipe[-1].score_tasks(pipe[:-1].transform(X[test][:, kept]), table.iloc[test])
        for name, values in runs.items():
            values.append({side: own[name] for side, own in scores.items()})
    return [row for name, values in runs.items() for row in compare("census", f"skill of {name}", values)]


def side_effects(seeds, epochs: int) -> list[list]:
    """27 side effects of 1,427 drugs, and 12 assays of 7,831 compounds, by the same fingerprints: stacked and alone."""
    (X, y, _), (X_more, y_more, _) = load("sider"), load("tox21")
    bits = [f"bit {k}" for k in range(X.shape[1])]
    names, assays = [f"effect {k}" for k in range(y.shape[1])], [f"assay {k}" for k in range(y_more.shape[1])]
    more = pd.DataFrame(X_more[:3000], columns=bits), pd.DataFrame(y_more[:3000], columns=assays)
    runs = []
    for seed in seeds:
        train, test = train_test_split(np.arange(len(X)), test_size=0.3, random_state=seed)
        own = pd.DataFrame(X[train], columns=bits), pd.DataFrame(y[train], columns=names)
        run = {}
        for side in ("27 tasks", "one task of 27 labels", "and 12 assays"):
            tasks = dict.fromkeys(names, "classification") if side == "27 tasks" else {"effects": Multilabel(names)}
            data = {"sider": own}
            if side == "and 12 assays":
                tasks, data = {**tasks, **{name: Classification() for name in assays}}, {"sider": own, "tox21": more}
            stacked = stack_tasks(data)
            options = {**ONE_NETWORK, "max_epochs": epochs, "random_state": seed, "weight_decay": 5.0}
            model = MultiTaskEstimator(tasks, **options).fit(stacked.X.to_numpy(np.float32), stacked.y)
            proba = model.predict_proba(X[test].astype(np.float32))
            own_proba = proba["effects"] if "effects" in proba else np.stack([proba[n][:, 1] for n in names], axis=1)
            run[side] = np.mean([roc_auc_score(t, p) for t, p in zip(y[test].T, own_proba.T, strict=True)])
        runs.append(run)
    return compare("sider (and tox21)", "mean ROC-AUC", runs)


def toxcast(seeds, epochs: int) -> list[list]:
    """617 assays of 8,597 compounds, 71 % of the labels missing: linear heads on the bits against a shared trunk."""
    X, y, info = load("toxcast")
    X, train, test = np.asarray(X, dtype=np.float32), info["split"] < 2, info["split"] == 2
    both = [k for k, t in enumerate(y.T) if all(len(np.unique(t[r & ~np.isnan(t)])) == 2 for r in (train, test))]
    table = pd.DataFrame(y[train][:, both]).add_prefix("assay ")
    runs = []
    for seed in seeds:
        run = {}
        for side, hidden in (("linear", ()), ("shared trunk", (64, 64))):
            options = {**ONE_NETWORK, "max_epochs": epochs, "random_state": seed, "weight_decay": 5.0}
            tasks = dict.fromkeys(table, "classification")
            model = MultiTaskEstimator(tasks, hidden_layer_sizes=hidden, **options).fit(X[train], table)
            proba, seen = model.predict_proba(X[test]), ~np.isnan(y[test])
            scores = [
                roc_auc_score(y[test][seen[:, k], k], proba[f"assay {j}"][seen[:, k], 1]) for j, k in enumerate(both)
            ]
            run[side] = np.mean(scores)
        runs.append(run)
    return compare(f"toxcast, {len(both)} tasks", "mean ROC-AUC", runs)


def main() -> None:
    full = begin(__doc__.splitlines()[0])
    seeds = range(10 if full else 3)
    plans = [
        (flchain, 15),
        (news20, 6),
        (hillstrom, 8),
        (censored, 60),
        (census, 15),
        (side_effects, 12),
        (toxcast, 12),
    ]
    rows = []
    for function, epochs in plans:
        start = time.process_time()
        own = function(seeds, epochs * (2 if full else 1))
        print(f"{function.__name__}: {time.process_time() - start:.0f} s", flush=True)
        rows += own
    print()
    print_table(["data", "measure", "side", "mean ± se", "difference ± se"], rows)


if __name__ == "__main__":
    main()
