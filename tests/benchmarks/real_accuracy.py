"""Accuracy: a searched ensemble of networks, forests and linear models on ten sets, in the same folds."""

from __future__ import annotations

import time
import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from scipy.sparse import csr_matrix
from scipy.stats import loguniform, rankdata
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold, StackedRandomizedSearchCV, best_mean_rank
from skmtl.sharing import AttentionSharing

REGRESSION = ["enb", "jura", "wq", "oes97", "sarcos"]
CLASSIFICATION = ["emotions", "yeast", "medical", "tox21", "census"]
QUICK = ["enb", "jura", "oes97", "emotions"]
ARMS = ("network", "forest", "linear")
MAX_ROWS = 5000
COMMON = {
    "clip": ["passthrough", FunctionTransformer(np.clip, kw_args={"a_min": -3.0, "a_max": 3.0})],
    "network__lr": loguniform(2e-3, 3e-2),
    "network__weight_decay": loguniform(0.05, 5.0),
    "network__dropout": [0.0, 0.0, 0.0, 0.3],
}
HARD = {"network__sharing": ["hard"], "network__hidden_layer_sizes": [(), (64,), (64, 64), (128, 128)], **COMMON}
TIED = {"network__sharing_lambda": loguniform(1e-4, 1.0), **COMMON}
SOFT = {"network__sharing": ["soft"], "network__hidden_layer_sizes": [(16,)], **TIED}
FEW_TOKENS = AttentionSharing(n_tokens=4)  # at 8 tokens of width 64 a fit takes twenty times that of a plain trunk
ATTENTION = {"network__sharing": [FEW_TOKENS], "network__hidden_layer_sizes": [(32,)], **TIED}
SPACE = [HARD] * 9 + [SOFT, ATTENTION]  # drawn from evenly: a tower per task and attention cost ten trunks for all
FULL = {"n_folds": 5, "n_trees": 200, "search": {"n_candidates": 20, "n_inner": 5, "n_members": 10}}
BRIEF = {"n_folds": 1, "n_trees": 50, "search": {"n_candidates": 8, "n_inner": 3, "n_members": 5}}
PROTOCOL = """Protocol: {outer}; at most {rows} training rows of a set, drawn at random.
Score: mean over tasks of R2 (regression) or ROC-AUC (classification) on observed labels, then over folds.
network  one StackedRandomizedSearchCV of {n_candidates} candidates by {n_inner} inner folds on the training rows, over
         the same space for all sets; then an ensemble of {n_members} networks like the candidate of the best mean rank
         over the inner folds (one fold with an outlier decides a mean of R2). Missing features are filled with
         medians, numbers standardised and, by choice of the search, cut off at 3 standard deviations, categories
         one-hot; batch 64, lr_schedule "cosine", no early stopping, and as many epochs as make 60,000 rows, 15 to 100.
forest   {n_trees} trees for each task, scikit-learn's defaults otherwise, categories as codes.
linear   for each task RidgeCV over 13 penalties, or LogisticRegressionCV over 4; features standardised and one-hot,
         a table of bits as it is.
Seconds: processor time of search, fits and prediction on one thread, all folds together.
"""


def splits(X, meta, n_folds):
    """Return (training rows, test rows): the split of the file where it has one, else folds."""
    if "split" not in meta:
        return list(KFold(5, shuffle=True, random_state=0).split(X))[:n_folds]
    train = np.random.RandomState(0).permutation(np.flatnonzero(meta["split"] < 2))[:MAX_ROWS]
    return [(train, np.flatnonzero(meta["split"] == 2))]


def prepared(X, meta):
    """Return what makes numbers near 0 of the features: median, scale, one-hot."""
    names = [str(name) for name in meta.get("feature_names", [])]
    nominal = {names.index(c) if isinstance(c, str) else int(c) for c in meta.get("nominal_features", [])}
    numeric = [c for c in range(X.shape[1]) if c not in nominal]
    scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    codes = OneHotEncoder(handle_unknown="ignore", min_frequency=5, sparse_output=False)
    return make_column_transformer((scale, numeric), (codes, sorted(nominal)))


def epochs_for(n_rows):
    """Return as many epochs as make 60,000 rows, at least 15 and at most 100."""
    return int(np.clip(60_000 / n_rows, 15, 100))


def fit_network(X, y, meta, n_candidates, n_inner, n_members):
    """Return an ensemble of what the search prefers, fitted on these rows, and the parameters in short."""
    make = MultiTaskRegressor if is_regression(meta) else MultiTaskClassifier
    params = {"batch_size": 64, "max_epochs": epochs_for(len(X)), "lr_schedule": "cosine", "dtype": "float32"}
    network = make(**params, **ONE_NETWORK, random_state=0)
    search = StackedRandomizedSearchCV(
        Pipeline([("prepare", prepared(X, meta)), ("clip", "passthrough"), ("network", network)]),
        SPACE,
        n_iter=n_candidates,
        scoring=make_task_scorer(metric_of(meta)),
        refit=best_mean_rank,
        refit_params={"network__n_members": n_members},
        cv=MultiTaskKFold(n_inner, random_state=0),
        random_state=0,
    ).fit(X, y)
    return search.best_estimator_, describe(search.best_params_)


def is_regression(meta):
    """Say whether the targets are numbers."""
    return meta["task_types"][0] == "regression"


def metric_of(meta):
    """Return the name of the metric that a set is scored by."""
    return "r2" if is_regression(meta) else "roc_auc"


def describe(parameters):
    """Return what was chosen, in short."""
    text = {k.removeprefix("network__"): f"{v:.2g}" if isinstance(v, float) else v for k, v in parameters.items()}
    text["clip"] = "no" if text["clip"] == "passthrough" else "3"
    return " ".join(f"{name}={text[name]}" for name in sorted(text)).replace("hidden_layer_sizes", "hidden")


def score_network(X, y, X_test, y_test, meta, effort):
    """Return the score of the network and what the search chose; a task of one training class is left out."""
    model, choice = fit_network(X, y, meta, **effort)
    constant = np.array([len(np.unique(labels[~np.isnan(labels)])) < 2 for labels in y.T])
    scores = make_task_scorer(metric_of(meta))(model, X_test, np.where(constant, np.nan, y_test))
    return scores["average"], choice


def score_per_task(make_model, X, y, X_test, y_test, regression):
    """Return the mean score of a model of each task; a task of one class, in training or test, is left out."""
    scores = []
    for labels, labels_test in zip(y.T, y_test.T, strict=True):
        seen, seen_test = ~np.isnan(labels), ~np.isnan(labels_test)
        if not regression and min(len(np.unique(labels[seen])), len(np.unique(labels_test[seen_test]))) < 2:
            continue
        model = make_model(labels[seen]).fit(X[seen], labels[seen])
        if regression:
            scores.append(r2_score(labels_test[seen_test], model.predict(X_test[seen_test])))
        else:
            scores.append(roc_auc_score(labels_test[seen_test], model.predict_proba(X_test[seen_test])[:, 1]))
    return float(np.mean(scores))


def score_forest(X, y, X_test, y_test, meta, n_trees):
    """Return the score of a forest for each task."""
    make = RandomForestRegressor if is_regression(meta) else RandomForestClassifier
    fill = SimpleImputer(strategy="median").fit(X)
    tables = fill.transform(X), y, fill.transform(X_test), y_test
    return score_per_task(lambda _: make(n_trees, random_state=0, n_jobs=1), *tables, is_regression(meta)), ""


def score_linear(X, y, X_test, y_test, meta):
    """Return the score of a tuned linear model for each task."""
    is_bits = np.isin(X, (0, 1)).all()
    prepare = FunctionTransformer(csr_matrix) if is_bits else prepared(X, meta)
    tables = prepare.fit_transform(X.astype(float)), y, prepare.transform(X_test.astype(float)), y_test
    make = (lambda _: RidgeCV(np.logspace(-2, 4, 13))) if is_regression(meta) else logistic
    return score_per_task(make, *tables, is_regression(meta)), ""


def logistic(labels):
    """Return a logistic regression that chooses its penalty, where the rarer class is large enough for folds."""
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if rarest == 1:
        return LogisticRegression(C=0.1, solver="liblinear")
    return LogisticRegressionCV(Cs=[1e-2, 1e-1, 1.0, 10.0], cv=min(5, rarest), scoring="roc_auc", solver="liblinear")


def measure(name, arm, effort):
    """Return the mean score over folds, the seconds and the choices of an arm on a set."""
    X, y, meta = load(name)
    score = {"network": score_network, "forest": score_forest, "linear": score_linear}[arm]
    own = {"network": {"effort": effort["search"]}, "forest": {"n_trees": effort["n_trees"]}, "linear": {}}[arm]
    scores, choices, start = [], [], time.process_time()
    for train, test in splits(X, meta, effort["n_folds"]):
        value, choice = score(X[train].astype(np.float32), y[train], X[test].astype(np.float32), y[test], meta, **own)
        scores.append(value)
        choices += [choice] * bool(choice)
    return float(np.mean(scores)), time.process_time() - start, choices


def report(results):
    """Print scores, ranks and seconds: results by (set, arm)."""
    names = list(dict.fromkeys(name for name, _ in results))
    scores = np.array([[results[name, arm][0] for arm in ARMS] for name in names])
    seconds = np.array([[results[name, arm][1] for arm in ARMS] for name in names])
    rows = [
        [name, *(f"{s:.4f}" for s in score), f"{score[0] - score[2]:+.4f}", *(f"{s:.1f}" for s in used)]
        for name, score, used in zip(names, scores, seconds, strict=True)
    ]
    ranks = rankdata(-scores, axis=1).mean(0)
    rows.append(["mean rank, total seconds", *(f"{r:.2f}" for r in ranks), "", *(f"{s:.0f}" for s in seconds.sum(0))])
    print_table(["set", *ARMS, "network - linear", *(f"{arm} s" for arm in ARMS)], rows)


def main():
    """Measure and print."""
    full = begin("Accuracy: a searched ensemble of networks, forests and linear models on ten sets")
    effort = FULL if full else BRIEF
    outer = f"the split of the file where it has one, else {effort['n_folds']} of 5 shuffled folds"
    print(PROTOCOL.format(outer=outer, rows=MAX_ROWS, n_trees=effort["n_trees"], **effort["search"]))
    results = {}
    for name in REGRESSION + CLASSIFICATION if full else QUICK:
        for arm in ARMS:
            results[name, arm] = measure(name, arm, effort)
            print(f"{name}, {arm}: {results[name, arm][0]:.4f}, {results[name, arm][1]:.1f} s", flush=True)
            for choice in results[name, arm][2]:
                print(f"    {choice}", flush=True)
    print()
    report(results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
