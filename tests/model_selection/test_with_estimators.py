"""Scorer, splitter, out-of-fold prediction and the test of sharing, with the package's own estimators in a pipeline."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import make_task_scorer, task_scores
from skmtl.model_selection import MultiTaskKFold, cross_val_predict, transfer_gain

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 80, "lr": 0.01, "random_state": 0}


@pytest.fixture
def words():
    """Return inputs, and two tasks of string labels that the first two inputs decide, a third of them missing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = pd.DataFrame({"sign": np.where(X[:, 0] > 0, "up", "down"), "size": np.digitize(X[:, 1], [-1, 1]).astype(str)})
    return X, y.mask(rng.random(y.shape) < 0.33)


def test_search_over_sharing_with_missing_string_labels(words):
    X, y = words
    pipeline = make_pipeline(StandardScaler(), MultiTaskClassifier(**SMALL))
    search = GridSearchCV(
        pipeline,
        {"multitaskclassifier__sharing": ["hard", "soft", "attention", "independent"]},
        scoring=make_task_scorer({"sign": "roc_auc", "size": "log_loss"}),
        refit="average",
        cv=MultiTaskKFold(3, random_state=0),
    ).fit(X, y)
    assert (search.cv_results_["mean_test_sign"] > 0.7).all()
    assert (search.cv_results_["mean_test_size"] < 0).all()
    assert search.best_index_ == search.cv_results_["mean_test_average"].argmax()


def test_the_score_of_an_estimator_is_the_scorers_average(words):
    X, y = words
    model = MultiTaskClassifier(**SMALL).fit(X, y)
    scores = make_task_scorer("accuracy")(model, X, y)
    assert scores.pop("average") == pytest.approx(model.score(X, y))
    assert scores == pytest.approx(model.score_tasks(X, y))
    assert scores == pytest.approx(task_scores("accuracy", y, model.predict(X)))


def test_out_of_fold_probabilities(words):
    X, y = words
    proba = cross_val_predict(MultiTaskClassifier(**SMALL), X, y, cv=3, method="predict_proba")
    assert [p.shape for p in proba] == [(120, 2), (120, 3)]
    for p in proba:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert task_scores("roc_auc", y, proba)["sign"] > 0.7


def test_nothing_is_gained_from_a_penalty_of_zero():
    """Towers that nothing pulls together are independent networks: same seed, same scores."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ rng.normal(size=(3, 2))
    result = transfer_gain(MultiTaskRegressor("soft", sharing_lambda=0.0, **SMALL), X, y, cv=3, n_repeats=1)
    np.testing.assert_allclose(result.shared, result.alone, atol=1e-5)
