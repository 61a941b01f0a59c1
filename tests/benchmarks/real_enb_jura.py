"""Energy efficiency and Jura: a tuned grid of sharing and λ against MLP, random forest and ridge in the same folds."""

from __future__ import annotations

import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.metrics import make_task_scorer

PUBLISHED = {"enb": {"ridge": 0.3141, "forest": 0.1288}, "jura": {"ridge": 0.6008, "forest": 0.5666}}
BASE = {
    "enb": dict(hidden_layer_sizes=(64, 64), batch_size=32, max_epochs=200, lr=5e-3),  # noqa: C408
    "jura": dict(hidden_layer_sizes=(64,), batch_size=32, max_epochs=60, lr=3e-3, dropout=0.3),  # noqa: C408
}
SHARING = [
    {"sharing": ["hard"]},
    {"sharing": ["soft"], "sharing_lambda": [1e-3, 1e-2, 1e-1]},
    {"sharing": ["independent"]},
]
REGULAR = {
    "enb": {"weight_decay": [0.0, 1e-4]},
    "jura": {"weight_decay": [3e-2, 1e-2], "dropout": [0.1, 0.3], "max_epochs": [60, 120]},
}
PROTOCOL = """Protocol: 5 folds, KFold(5, shuffle=True, random_state=0), features standardised on the training rows.
Score: aRRMSE, the mean over folds and tasks of RMSE / RMSE of predicting the training mean; smaller is better.
skmtl tuned: {grid} by {inner} inner folds in each outer fold, then refitted. Widths and
the settings of the untuned arms (the last of each list) were chosen by hand on these sets beforehand. All are one
network without early stopping, except "its defaults".
"""


def rrmse(y, predicted, y_train):
    """Return RMSE over that of the training mean, for each task."""
    return np.sqrt(((y - predicted) ** 2).mean(0) / ((y - y_train.mean(0)) ** 2).mean(0))


def grid(name, full):
    """Return the candidates."""
    regular = REGULAR[name] if full else {"weight_decay": REGULAR[name]["weight_decay"][-1:]}
    return [part | regular for part in SHARING + [{"sharing": ["attention"]}] * full]


def tuned(name, full, n_inner):
    """Return the search over sharing and λ."""
    folds = KFold(n_inner, shuffle=True, random_state=0)
    network = MultiTaskRegressor(optimizer="adam", **BASE[name], **ONE_NETWORK, random_state=0)
    return GridSearchCV(network, grid(name, full), scoring=make_task_scorer("rrmse"), refit="average", cv=folds)


def mlp(name, per_task):
    """Return scikit-learn's network of the same shape and budget, targets standardised as in skmtl."""
    base = BASE[name]
    network = MLPRegressor(
        hidden_layer_sizes=base["hidden_layer_sizes"],
        batch_size=base["batch_size"],
        learning_rate_init=base["lr"],
        max_iter=base["max_epochs"],
        n_iter_no_change=base["max_epochs"],
        random_state=0,
    )
    scaled = TransformedTargetRegressor(network, transformer=StandardScaler())
    return MultiOutputRegressor(scaled) if per_task else scaled


def fixed(name, **sharing):
    """Return one candidate."""
    regular = {"weight_decay": REGULAR[name]["weight_decay"][-1]}
    return MultiTaskRegressor(optimizer="adam", **BASE[name], **regular, **ONE_NETWORK, random_state=0, **sharing)


def arms(name, full, n_inner):
    """Return the estimators by name."""
    models = {
        "ridge": Ridge(1.0),
        "random forest per task": MultiOutputRegressor(RandomForestRegressor(100, random_state=0)),
        "MLPRegressor, one for all tasks": mlp(name, per_task=False),
        "skmtl with its defaults": MultiTaskRegressor(random_state=0),
        "skmtl hard": fixed(name, sharing="hard"),
        "skmtl soft, λ = 0.1": fixed(name, sharing="soft", sharing_lambda=0.1),
        "skmtl independent": fixed(name, sharing="independent"),
        "skmtl attention": fixed(name, sharing="attention"),
        "skmtl tuned": tuned(name, full, n_inner),
    }
    return models | ({"MLPRegressor per task": mlp(name, per_task=True)} if full else {})


def chosen(model):
    """Return what a search preferred, in short."""
    search = model[-1]
    return " ".join(map(str, search.best_params_.values())) if isinstance(search, GridSearchCV) else ""


def measure(name, full, n_inner):
    """Score every arm in every fold and print the table."""
    X, y, meta = load(name)
    scores, choices = {}, []
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        for arm, model in arms(name, full, n_inner).items():
            model = make_pipeline(StandardScaler(), model).fit(X[train], y[train])
            scores.setdefault(arm, []).append(rrmse(y[test], model.predict(X[test]), y[train]))
            choices += [chosen(model)] * (arm == "skmtl tuned")
    rows = [[arm, *np.round(np.r_[np.mean(s), np.mean(s, 0), np.std(np.mean(s, 1))], 4)] for arm, s in scores.items()]
    print(f"{name}: {len(X)} rows; {BASE[name]}; tuned per fold: {'; '.join(choices)}")
    print(f"baselines of the data folder, same protocol: {PUBLISHED[name]}\n")
    print_table(["arm", "aRRMSE", *meta["task_names"], "std over folds"], rows)


def main():
    """Measure and print."""
    full = begin("Energy efficiency and Jura: a tuned grid of sharing and λ")
    n_inner = 3 if full else 2
    print(PROTOCOL.format(inner=n_inner, grid=f"{SHARING} with {REGULAR}" if full else f"{SHARING}"))
    for name in ("enb", "jura"):
        measure(name, full, n_inner)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
