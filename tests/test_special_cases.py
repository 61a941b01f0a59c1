"""The classifier and the regressor are the two special cases of the estimator of any tasks."""

import numpy as np
import pandas as pd
import pytest

from skmtl import MultiTaskEstimator
from tests._cases import STRATEGIES, make_estimator, make_table


def tables(kind):
    """Return X, and y as a frame whose classes are whole numbers."""
    X, y = make_table(kind, n_samples=120)
    return X, pd.DataFrame(y, columns=list("abcd")).astype("Int64" if kind != "regression" else float)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_members": 3},
        {"early_stopping": True, "n_members": 2},
        {"head_layer_sizes": (4,), "weighting": "uncertainty"},
    ],
    ids=["plain", "members", "early stopping", "deep heads"],
)
def test_equal_tasks_learn_the_same(kind, sharing, options):
    X, y = tables(kind)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    special = make_estimator(kind, sharing, **options).fit(X, y, weight)
    task = "regression" if kind == "regression" else "classification"
    params = special.get_params(deep=False)
    params = {name: value for name, value in params.items() if name not in ("class_weight", "target_transform")}
    general = MultiTaskEstimator(dict.fromkeys(y, task), **params).fit(X, y, weight)
    theirs = special.predict(X).astype(float)
    np.testing.assert_allclose(np.asarray(general.predict(X), dtype=float), theirs, rtol=1e-7, atol=1e-9)
    if kind != "regression":
        for mine, theirs in zip(general.predict_proba(X).values(), special.predict_proba(X), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-9)
    assert [e["train_loss"] for e in general.history_] == pytest.approx([e["train_loss"] for e in special.history_])
    if kind == "regression":  # the skill is R²
        assert general.score_tasks(X, y) == pytest.approx(special.score_tasks(X, y))


def test_balanced_classes_are_an_option_of_each_task():
    from skmtl.tasks import Classification

    X, y = tables("multiclass")
    special = make_estimator("multiclass", class_weight="balanced").fit(X, y)
    params = {k: v for k, v in special.get_params(deep=False).items() if k != "class_weight"}
    tasks = {name: Classification(class_weight="balanced") for name in y}
    general = MultiTaskEstimator(tasks, **params).fit(X, y)
    np.testing.assert_allclose(general.predict_proba(X)["b"], special.predict_proba(X)[1], rtol=1e-9)
