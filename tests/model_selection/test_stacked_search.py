"""Stacked searches give what scikit-learn's give: the same keys, best candidate and, to within rounding, scores.

Widths are odd, for there some processors sum a stack in another order than one network. No two candidates are equal by
construction: which of them rounding puts first would be chance.
"""

import re
import sys
import time
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import FitFailedWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from skorch.callbacks import Callback

from skmtl import MultiTaskRegressor
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold, StackedGridSearchCV, StackedRandomizedSearchCV
from skmtl.sharing import STRATEGIES
from skmtl.training import MultiTaskNet
from tests._asserts import assert_same_choice, assert_same_scores, assert_within_promise
from tests._cases import make_odd_estimator as make_estimator
from tests._cases import make_table
from tests._side_by_side import bytes_of_member

FOLDS = KFold(3, shuffle=True, random_state=0)
GRID = {"lr": [1e-3, 1e-2], "weight_decay": [0.0, 0.1]}
SHAPES = 2
"""Shapes of the three tables of 48 rows with missing labels: in one fold a row is drawn twice, and a stack has one."""

LAMBDAS = [  # without a penalty, candidates that differ in λ only are equal
    {"lr": [lr], "sharing_lambda": [value]} for lr, value in ((1e-3, 0.0), (3e-3, 0.1), (1e-2, 0.0), (3e-2, 1.0))
]

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")
some_scores_are_nan = pytest.mark.filterwarnings("ignore:One or more of the:UserWarning")


def assert_same_results(stacked, plain, dtype=np.float64, exact=False):
    """Two fitted searches have the same keys, parameters and choice, and scores within the promise or to the bit."""
    ours, theirs = stacked.cv_results_, plain.cv_results_
    assert list(ours) == list(theirs)
    for key in theirs:
        if key.startswith("param"):
            assert repr(ours[key]) == repr(theirs[key])
    assert_same_scores(ours, theirs, dtype, exact)
    assert_same_choice(stacked, plain)


def search_both(estimator, grid, X, y, fit_params=None, stacks=None, dtype=np.float64, **options):
    """Return both searches, fitted; `stacks` is how many stacks there must be: with none, bits are equal."""
    options = {"cv": FOLDS, "refit": False, **options}
    plain = GridSearchCV(estimator, grid, **options).fit(X, y, **(fit_params or {}))
    stacked = StackedGridSearchCV(estimator, grid, **options)
    stacked.fit(X, y, **(fit_params or {}))
    if stacks is not None:
        assert stacked.n_stacks_ == stacks
    assert_same_results(stacked, plain, dtype, exact=stacks == 0)
    return stacked, plain


# ---- equal to scikit-learn's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "hidden"), [(np.float32, (33,)), (np.float64, (17, 5))])
@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_scores_are_those_of_a_plain_search(kind, sharing, dtype, hidden):
    X, y = make_table(kind, n_samples=60, dtype=dtype)
    model = make_estimator(kind, sharing, hidden)
    stacked, plain = search_both(model, LAMBDAS, X, y, stacks=1, dtype=dtype, refit=True)
    assert_within_promise(stacked.best_score_, plain.best_score_, dtype)
    np.testing.assert_array_equal(stacked.predict(X), plain.predict(X))  # refitted alone, both of them


def test_members_of_different_seeds_and_task_weights():
    X, y = make_table("regression", missing=0.0)
    grid = {"random_state": [0, 1, 2], "task_weights": [None, [1.0, 2.0, 0.5, 1.0]]}
    search_both(make_estimator(), grid, X, y, stacks=1)


def test_more_candidates_than_one_stack_holds():
    X, y = make_table("regression")
    grid = {"lr": np.logspace(-4, -1, 35)}
    search_both(make_estimator(max_epochs=2), grid, X, y, stacks=2 * SHAPES)


def test_scores_by_task_choose_by_their_average():
    X, y = make_table("multiclass", n_samples=90)
    options = {"scoring": make_task_scorer("accuracy"), "refit": "average", "return_train_score": True}
    stacked, plain = search_both(make_estimator("multiclass"), GRID, X, y, stacks=1, **options)
    assert "split2_train_average" in stacked.cv_results_
    assert_within_promise(stacked.best_score_, plain.best_score_)


def test_several_metrics_and_a_refit_function():
    X, y = make_table("regression", missing=0.0)
    options = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": _least_decay, "return_train_score": True}
    stacked, plain = search_both(make_estimator(), GRID, X, y, stacks=1, **options)
    assert stacked.best_index_ == plain.best_index_ == 1
    assert not hasattr(stacked, "best_score_")
    assert stacked.scorer_.keys() == plain.scorer_.keys()


def _least_decay(results):
    return 1


@pytest.mark.parametrize(("columns", "shapes"), [((), 2), ((4,), 3)])
def test_sample_weights(columns, shapes):
    """What weighs much is drawn more often, so tables differ in length, and stacks hold those of one length."""
    X, y = make_table("regression")
    weight = np.random.default_rng(1).random((len(X), *columns))
    search_both(make_estimator(), GRID, X, y, {"sample_weight": weight}, stacks=shapes)


def test_routed_sample_weights_reach_fit_and_scorer():
    X, y = make_table("regression", missing=0.0)
    weight = np.random.default_rng(1).random(len(X))
    with config_context(enable_metadata_routing=True):
        model = make_estimator().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        _, plain = search_both(model, GRID, X, y, {"sample_weight": weight}, stacks=2, n_jobs=2)
    unweighted = GridSearchCV(make_estimator(), GRID, cv=FOLDS).fit(X, y)
    assert not np.array_equal(plain.cv_results_["mean_test_score"], unweighted.cv_results_["mean_test_score"])


def test_early_stopping():
    X, y = make_table("regression", n_samples=90)
    model = make_estimator(early_stopping=True, n_iter_no_change=2, max_epochs=12, validation_fraction=0.3)
    search_both(model, {"lr": [1e-3, 1e-2, 1e-1]}, X, y, stacks=1)
    search_both(model, {"lr": [1e-3, 1e-1], "random_state": [0, 1]}, X, y, stacks=1)


def test_early_stopping_with_a_random_state_object():
    X, y = make_table("regression", n_samples=90)
    model = make_estimator(early_stopping=True, random_state=np.random.RandomState(3))
    search_both(model, {"lr": [1e-3, 1e-2, 1e-1]}, X, y, stacks=1)


@pytest.mark.parametrize("sharing", ["hard", "soft", "attention"])
def test_dropout(sharing):
    X, y = make_table("regression")
    search_both(
        make_estimator(sharing=sharing), {"dropout": [0.0, 0.2, 0.5], "lr": [1e-3, 1e-2]}, X, y, stacks=2 * SHAPES
    )


def test_other_architectures_are_other_stacks():
    X, y = make_table("regression")
    grid = [
        {"sharing": ["hard", "independent"], "hidden_layer_sizes": [(8,), (4, 4)], "lr": [1e-3, 1e-2]},
        {"sharing": ["soft"], "sharing_lambda": [0.01, 0.1]},
    ]
    search_both(make_estimator(), grid, X, y, stacks=5 * SHAPES)


@pytest.mark.parametrize("jobs", [1, 2])
def test_random_candidates_are_scikit_learns(jobs):
    X, y = make_table("regression")
    space = {"lr": loguniform(1e-4, 1e-1), "sharing": ["hard", "soft"], "sharing_lambda": loguniform(1e-4, 1e1)}
    options = {"n_iter": 6, "cv": FOLDS, "random_state": 5}
    plain = RandomizedSearchCV(make_estimator(), space, **options).fit(X, y)
    stacked = StackedRandomizedSearchCV(make_estimator(), space, n_jobs=jobs, **options).fit(X, y)
    assert_same_results(stacked, plain)


# ---- pipelines and frames -------------------------------------------------------------------------------------------


class CountingScaler(StandardScaler):
    """Count the fits of all copies."""

    fits: list = []
    transforms: list = []

    def fit(self, X, y=None, sample_weight=None):
        """Fit and count."""
        self.fits.append(len(X))
        return super().fit(X, y, sample_weight)

    def transform(self, X, copy=None):
        """Transform and count."""
        self.transforms.append(len(X))
        return super().transform(X, copy)


def test_preprocessing_is_fitted_once_for_a_fold_and_its_own_candidates():
    X, y = make_table("regression")
    model = Pipeline([("scale", CountingScaler()), ("net", make_estimator())])
    grid = {"scale__with_mean": [True, False], "net__lr": [1e-3, 1e-2, 1e-1]}
    plain = GridSearchCV(model, grid, cv=FOLDS, refit=False).fit(X, y)
    CountingScaler.fits.clear()
    stacked = StackedGridSearchCV(model, grid, cv=FOLDS, refit=False).fit(X, y)
    assert len(CountingScaler.fits) == 2 * 3
    assert_same_results(stacked, plain)


def _asks_the_scaler(model, X, y):
    return float(np.abs(model.predict(X)).mean() + model["scale"].mean_.sum())


@pytest.mark.parametrize(
    ("scoring", "times"),
    [
        (None, 1),
        ("neg_mean_squared_error", 1),
        (["r2", "neg_mean_absolute_error"], 1),
        (make_task_scorer("r2"), 1),
        (_asks_the_scaler, 3),
        ({"own": _asks_the_scaler, "r2": "r2"}, 6),
    ],
)
def test_rows_to_score_are_transformed_once_where_the_scorer_asks_the_last_step_alone(scoring, times):
    X, y = make_table("regression", missing=0.0)
    model = Pipeline([("scale", CountingScaler()), ("net", make_estimator())])
    options = {"cv": FOLDS, "refit": False, "scoring": scoring, "return_train_score": True}
    grid = {"net__lr": [1e-3, 1e-2, 1e-1]}
    plain = GridSearchCV(model, grid, **options).fit(X, y)
    CountingScaler.transforms.clear()
    stacked = StackedGridSearchCV(model, grid, **options).fit(X, y)
    in_fit, training_and_test = 3, 3 * 2
    assert len(CountingScaler.transforms) == in_fit + training_and_test * times
    assert_same_results(stacked, plain)


class OnlyInTraining(StandardScaler):
    """Refuse the rows of a test fold."""

    def transform(self, X, copy=None):
        """Transform as many rows as were learned from, and no others."""
        if len(X) != self.n_samples_seen_:
            raise ValueError("other rows")
        return super().transform(X, copy)


@some_scores_are_nan
def test_preprocessing_that_fails_on_the_rows_to_score():
    X, y = make_table("regression")
    model = Pipeline([("scale", OnlyInTraining()), ("net", make_estimator())])
    with pytest.warns(UserWarning, match="Scoring failed"):
        search_both(model, {"net__lr": [1e-3, 1e-2]}, X, y)


def test_pipelines_whose_steps_are_searched_too():
    X, y = make_table("regression", missing=0.0)
    model = Pipeline([("scale", StandardScaler()), ("net", make_estimator())])
    grid = [
        {"scale": [StandardScaler(), MinMaxScaler(), "passthrough"], "net__lr": [1e-3, 1e-2]},
        {"net": [Ridge(), make_estimator(sharing="soft")]},
    ]
    weight = {"net__sample_weight": np.random.default_rng(1).random(len(X))}
    search_both(model, grid, X, y, weight, stacks=2)


def _times(X, by):
    return X * by


def test_long_preprocessing_that_differs_only_in_the_middle():
    X, y = make_table("regression")
    columns = [FunctionTransformer(_times, kw_args={"by": np.arange(5.0) + k}) for k in range(30)]
    options = [make_column_transformer(*((c, list(range(5))) for c in columns))]
    options += [clone(options[0]), clone(options[0])]
    options[1].transformers[15][1].set_params(kw_args={"by": np.arange(5.0) * 100})
    model = Pipeline([("columns", options[0]), ("net", make_estimator())])
    lrs = [1e-3, 3e-3, 1e-2]
    grid = [{"columns": [option], "net__lr": [lr]} for option, lr in zip(options, lrs, strict=True)]
    search_both(model, grid, X, y, stacks=SHAPES)


def test_preprocessing_that_cannot_be_compared():
    X, y = make_table("regression")
    model = Pipeline([("square", FunctionTransformer(lambda x: x * x)), ("net", make_estimator())])
    search_both(model, {"net__lr": [1e-3, 1e-2]}, X, y)


def test_frames_keep_their_names():
    X, y = make_table("multiclass", n_samples=90)
    X, y = pd.DataFrame(X, columns=list("abcde")), pd.DataFrame(y, columns=["p", "q", "r", "s"])
    y["p"] = y["p"].map({0.0: "low", 1.0: "mid", 2.0: "high"})
    options = {"scoring": make_task_scorer("accuracy"), "refit": "average"}
    stacked, _ = search_both(make_estimator("multiclass"), GRID, X, y, stacks=1, **options)
    assert "mean_test_p" in stacked.cv_results_
    assert stacked.feature_names_in_.tolist() == list("abcde")
    assert stacked.best_estimator_.task_names_ == ["p", "q", "r", "s"]


# ---- candidates that fail -------------------------------------------------------------------------------------------


@some_scores_are_nan
@pytest.mark.parametrize("error_score", [np.nan, -7.0])
def test_a_candidate_that_diverges_leaves_the_others_as_they_are(error_score):
    X, y = make_table("regression", dtype=np.float32)
    options = {"cv": FOLDS, "error_score": error_score, "refit": False, "return_train_score": True}
    stacked = StackedGridSearchCV(make_estimator(), {"lr": [1e-3, 1e30, 1e-2]}, **options)
    with pytest.warns(FitFailedWarning, match=r"(?s)3 fits failed out of a total of 9.*no longer finite.*'lr': 1e\+30"):
        stacked.fit(X, y)
    others = GridSearchCV(make_estimator(), {"lr": [1e-3, 1e-2]}, **options).fit(X, y)
    for k in range(3):
        scores = stacked.cv_results_[f"split{k}_test_score"]
        assert_within_promise(scores[[0, 2]], others.cv_results_[f"split{k}_test_score"], np.float32)
        np.testing.assert_array_equal(scores[1], error_score)
        np.testing.assert_array_equal(stacked.cv_results_[f"split{k}_train_score"][1], error_score)


@some_scores_are_nan
def test_a_candidate_that_diverges_with_scores_by_task():
    X, y = make_table("regression", dtype=np.float32)
    options = {"cv": FOLDS, "scoring": make_task_scorer("r2"), "refit": "average"}
    with pytest.warns(FitFailedWarning):
        stacked = StackedGridSearchCV(make_estimator(), {"lr": [1e30, 1e-2]}, **options).fit(X, y)
    assert stacked.best_index_ == 1
    assert np.isnan(stacked.cv_results_["mean_test_0"][0])


def test_a_candidate_that_diverges_raises_if_it_shall():
    X, y = make_table("regression", dtype=np.float32)
    search = StackedGridSearchCV(make_estimator(), {"lr": [1e-3, 1e30]}, cv=FOLDS, error_score="raise")
    with pytest.raises(ValueError, match=r"no longer finite"):
        search.fit(X, y)


def test_all_candidates_diverge():
    X, y = make_table("regression", dtype=np.float32)
    with pytest.raises(ValueError, match="All the 6 fits failed"):
        StackedGridSearchCV(make_estimator(), {"lr": [1e29, 1e30]}, cv=FOLDS).fit(X, y)


@some_scores_are_nan
def test_an_invalid_value_costs_its_candidate_alone():
    X, y = make_table("regression")
    search = StackedGridSearchCV(make_estimator(), {"lr": [1e-3, -1.0, 1e-2]}, cv=FOLDS, refit=False)
    with pytest.warns(FitFailedWarning, match="(?s)3 fits failed.*'lr' parameter"):
        search.fit(X, y)
    assert search.n_stacks_ == SHAPES
    others = GridSearchCV(make_estimator(), {"lr": [1e-3, 1e-2]}, cv=FOLDS, refit=False).fit(X, y)
    scores, expected = search.cv_results_["mean_test_score"], others.cv_results_["mean_test_score"]
    assert_within_promise(scores[[0, 2]], expected)
    assert np.isnan(scores[1])
    with pytest.raises(ValueError, match="'lr' parameter"):
        clone(search).set_params(error_score="raise").fit(X, y)


@some_scores_are_nan
@pytest.mark.parametrize("bad_first", [True, False])
def test_weights_of_other_tasks_cost_their_candidate_alone(bad_first):
    X, y = make_table("regression")
    weights = [None, [1.0, 2.0], [1.0, 2.0, 0.5, 1.0]]
    grid = {"task_weights": weights[1:] + weights[:1] if bad_first else weights}
    search = StackedGridSearchCV(make_estimator(), grid, cv=FOLDS, refit=False)
    with pytest.warns(FitFailedWarning, match="(?s)3 fits failed out of a total of 9.*task_weights"):
        search.fit(X, y)
    assert search.n_stacks_ == SHAPES
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [
        value != [1.0, 2.0] for value in grid["task_weights"]
    ]


@some_scores_are_nan
def test_a_fold_that_cannot_be_learned_costs_its_own_fits_alone(capsys):
    X, y = make_table("regression", missing=0.0)
    y[16:, 0] = np.nan  # the first fold holds all labels of one task out
    search = StackedGridSearchCV(make_estimator(), GRID, cv=KFold(3), refit=False, verbose=1)
    with pytest.warns(
        FitFailedWarning, match="(?s)4 fits failed out of a total of 12.*Task '0': every label is missing"
    ):
        search.fit(X, y)
    assert search.n_stacks_ == 1
    assert "Training 4 fits one by one, because their rows cannot be read" in capsys.readouterr().out
    plain = GridSearchCV(make_estimator(), GRID, cv=KFold(3), refit=False)
    with pytest.warns(FitFailedWarning):
        plain.fit(X, y)
    assert_same_scores(search.cv_results_, plain.cv_results_)


@some_scores_are_nan
def test_preprocessing_that_cannot_be_fitted_costs_its_own_fits_alone():
    X, y = make_table("regression")
    model = Pipeline([("reduce", PCA()), ("net", make_estimator())])
    grid = {"reduce__n_components": [2, 400], "net__lr": [1e-3, 1e-2]}
    search = StackedGridSearchCV(model, grid, cv=FOLDS, refit=False)
    with pytest.warns(FitFailedWarning, match="(?s)6 fits failed out of a total of 12.*n_components=400"):
        search.fit(X, y)
    assert search.n_stacks_ == SHAPES
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False, True, False]


def _fails_for_small_lr(estimator, X, y):
    if estimator.lr < 2e-3:
        raise RuntimeError("no score today")
    return 1.0


@some_scores_are_nan
@pytest.mark.parametrize("scoring", [_fails_for_small_lr, {"score": _fails_for_small_lr}])
def test_a_scorer_that_fails(scoring):
    X, y = make_table("regression")
    options = {"cv": FOLDS, "scoring": scoring, "refit": "score"}
    search = StackedGridSearchCV(make_estimator(), {"lr": [1e-3, 1e-2]}, **options)
    with pytest.warns(UserWarning, match=r"(?s)no score today.*Candidate: {'lr': 0.001}, split \d"):
        search.fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [np.nan, 1.0])
    with pytest.raises(RuntimeError, match="no score today") as raised:
        search.set_params(error_score="raise").fit(X, y)
    assert raised.value.__notes__ == ["Candidate: {'lr': 0.001}, split 0"]


def _is_nan_for_small_lr(estimator, X, y):
    return np.nan if estimator.lr < 2e-3 else 1.0


def test_a_scorer_that_gives_nan():
    X, y = make_table("regression")
    grid = {"lr": [1e-2, 1e-3]}
    search = StackedGridSearchCV(make_estimator(), grid, cv=FOLDS, scoring=_is_nan_for_small_lr, refit=False)
    message = r"(?s)One or more of the test.*The score of 3 of 6 fits is NaN.*{'lr': 0.001}, split 0"
    with pytest.warns(UserWarning, match=message) as caught:
        search.fit(X, y)
    assert len(caught) == 1  # as scikit-learn's
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [1.0, np.nan])


def test_a_scorer_of_what_is_no_number():
    X, y = make_table("regression")
    search = StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS, scoring=lambda estimator, X, y: "good")
    with pytest.raises(ValueError, match=r"scoring must return a number.*scorer=<function .*lambda"):
        search.fit(X, y)


@pytest.mark.parametrize("refit", [True, "avg"])
def test_which_of_the_tasks_scores_chooses_is_asked_before_training(refit):
    X, y = make_table("regression")
    model = Pipeline([("scale", CountingScaler()), ("net", make_estimator())])
    grid = {"net__lr": [1e-3, 1e-2]}
    search = StackedGridSearchCV(model, grid, scoring=make_task_scorer("r2"), refit=refit)
    CountingScaler.fits.clear()
    with pytest.raises(ValueError, match=rf"(?s)Found refit={refit!r}.*'average', '0', '1'"):
        search.fit(X, y)
    assert CountingScaler.fits == []


@pytest.mark.parametrize("cv", [None, 3])
def test_folds_of_a_classifier_whose_labels_are_missing(cv):
    X, y = make_table("multiclass", n_samples=90)
    frame = pd.DataFrame(y).astype(object).map(lambda label: None if np.isnan(label) else "abcdef"[int(label)])
    assert np.isnan(y).any()
    model = make_estimator("multiclass")
    for targets in (y, frame):
        stacked = StackedGridSearchCV(model, GRID, cv=cv).fit(X, targets)
        plain = GridSearchCV(model, GRID, cv=MultiTaskKFold(cv or 5, random_state=0)).fit(X, targets)
        assert_same_results(stacked, plain)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "No fits were performed"),
        ({"lr": []}, "empty"),
        ({"learning": [1]}, "Invalid parameter 'learning'"),
    ],
)
def test_grids_that_cannot_be_searched(grid, message):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=message):
        StackedGridSearchCV(make_estimator(), grid, cv=FOLDS).fit(X, y)


@pytest.mark.parametrize("params", [{"max_bytes": 0}, {"max_bytes": "1 GB"}, {"n_jobs": "two"}, {"error_score": "no"}])
def test_invalid_parameters_of_the_search(params):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=next(iter(params))):
        StackedGridSearchCV(make_estimator(), GRID, **params).fit(X, y)


# ---- trained alone --------------------------------------------------------------------------------------------------


class Silent(Callback):
    """Do nothing."""


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"callbacks": [Silent()]}, "candidates 0, 1 (callbacks act on a whole net)"),
        ({"optimizer": torch.optim.SGD}, "candidates 0, 1 (an optimizer class has one learning rate for all)"),
        ({"warm_start": True}, "candidates 0, 1 (warm_start continues an earlier fit)"),
    ],
)
def test_what_cannot_be_stacked_is_trained_alone(params, reason, capsys):
    X, y = make_table("regression")
    grid = {"lr": [1e-3, 1e-2]}
    model = make_estimator(**params)
    search_both(model, grid, X, y, stacks=0)
    capsys.readouterr()
    StackedGridSearchCV(model, grid, cv=FOLDS, refit=False, verbose=1).fit(X, y)
    said = capsys.readouterr().out
    assert "3 folds for each of 2 candidates, totalling 6 fits, in 0 stacks" in said
    assert f"Trained alone: {reason}" in said


class LogTargets(MultiTaskRegressor):
    """Learn the logarithms of the targets."""

    def fit(self, X, y, sample_weight=None):
        """Fit."""
        return super().fit(X, np.log1p(y), sample_weight)

    def predict(self, X):
        """Predict."""
        return np.expm1(super().predict(X))


class AbsoluteFeatures(Pipeline):
    """Fit the steps to absolute values."""

    def fit(self, X, y=None, **params):
        """Fit."""
        return super().fit(np.abs(X), y, **params)


def test_classes_that_fit_in_their_own_way_are_asked_to(capsys):
    X, y = make_table("regression", missing=0.0)
    params = make_estimator().get_params()
    search_both(LogTargets(**params), GRID, X, np.exp(y), stacks=0)
    model = AbsoluteFeatures([("scale", StandardScaler()), ("net", make_estimator())])
    search_both(model, {"net__lr": [1e-3, 1e-2]}, X, y, stacks=0)
    StackedGridSearchCV(LogTargets(**params), GRID, cv=FOLDS, verbose=1).fit(X, np.exp(y))
    assert "(LogTargets overrides fit)" in capsys.readouterr().out


def test_estimators_of_other_packages(capsys):
    X, y = make_table("regression", missing=0.0)
    search_both(Ridge(), {"alpha": [0.1, 1.0]}, X, y, stacks=0)
    StackedGridSearchCV(DummyRegressor(), {"strategy": ["mean"]}, verbose=1).fit(X, y)
    assert "candidates 0 (DummyRegressor is not a skmtl estimator)" in capsys.readouterr().out


def test_only_those_that_must_are_trained_alone(capsys):
    X, y = make_table("regression")
    grid = [{"lr": [1e-3, 1e-2]}, {"callbacks": [[Silent()]], "lr": [2e-3, 2e-2]}]
    search_both(make_estimator(), grid, X, y, stacks=SHAPES)
    StackedGridSearchCV(make_estimator(), grid, cv=FOLDS, verbose=1).fit(X, y)
    said = capsys.readouterr()
    assert "in 1 stack\n" in said.out
    assert "Trained alone: candidates 2, 3" in said.out
    assert "12/12" in said.err


# ---- threads, memory, Ctrl-C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", STRATEGIES)
def test_two_threads_give_the_same(sharing):
    X, y = make_table("regression")
    grid = [{**one, "batch_size": [8, 16]} for one in LAMBDAS]
    one, two = (
        StackedGridSearchCV(make_estimator(sharing=sharing, dropout=0.2), grid, cv=FOLDS, n_jobs=jobs).fit(X, y)
        for jobs in (1, 2)
    )
    assert_same_results(two, one)


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_number_of_torch_threads_is_put_back(jobs):
    X, y = make_table("regression")
    torch.set_num_threads(2)
    turn = sys.getswitchinterval()
    try:
        StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS, n_jobs=jobs).fit(X, y)
        assert (torch.get_num_threads(), sys.getswitchinterval()) == (2, turn)
    finally:
        torch.set_num_threads(1)


def test_bounded_memory_splits_stacks_and_changes_nothing():
    X, y = make_table("regression", missing=0.0)
    free = StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS, refit=False).fit(X, y)
    max_bytes = 5 * bytes_of_member(make_estimator(), X, y)
    bounded = StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS, refit=False, max_bytes=max_bytes).fit(X, y)
    assert (free.n_stacks_, bounded.n_stacks_) == (1, 3)
    assert_same_results(bounded, free)


def test_a_member_that_does_not_fit_is_refused():
    X, y = make_table("regression")
    search = StackedGridSearchCV(make_estimator(hidden_layer_sizes=(8,)), GRID, cv=FOLDS, max_bytes=100)
    with pytest.raises(ValueError, match=r"one member takes about \d+ bytes.*max_bytes=100.*hidden_layer_sizes=\(8,\)"):
        search.fit(X, y)


class Interrupting(MultiTaskRegressor):
    """Press Ctrl-C when a network of width 5 predicts."""

    def predict(self, X):
        """Predict, or be interrupted."""
        if self.hidden_layer_sizes == (5,):
            raise KeyboardInterrupt
        return super().predict(X)


@some_scores_are_nan
@pytest.mark.parametrize("scoring", [None, make_task_scorer("r2")])
def test_ctrl_c_keeps_what_is_finished(scoring):
    X, y = make_table("regression")
    model = Interrupting(batch_size=16, max_epochs=2, random_state=0)
    grid = {"hidden_layer_sizes": [(8,), (5,)], "lr": [1e-3, 1e-2]}
    search = StackedGridSearchCV(model, grid, cv=KFold(3), scoring=scoring, refit="average", return_train_score=True)
    with pytest.warns(UserWarning, match="interrupted after 6 of 12 fits"):
        search.fit(X, y)
    name = "score" if scoring is None else "average"
    for key in (f"split0_test_{name}", f"split2_test_{name}", f"split1_train_{name}", f"mean_test_{name}"):
        assert np.isfinite(search.cv_results_[key]).tolist() == [True, True, False, False]
    assert not hasattr(search, "best_estimator_")


def test_ctrl_c_before_anything_is_finished():
    X, y = make_table("regression")
    model = Interrupting(hidden_layer_sizes=(5,), batch_size=16, max_epochs=2, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        StackedGridSearchCV(model, GRID, cv=KFold(3)).fit(X, y)


class Interrupts(Callback):
    """Press Ctrl-C in the first batch of the sixth fit."""

    n_fits = 0

    def on_train_begin(self, net, **kwargs):
        """Count."""
        type(self).n_fits += 1

    def on_batch_begin(self, net, **kwargs):
        """Interrupt."""
        if type(self).n_fits == 6:
            raise KeyboardInterrupt


def test_ctrl_c_while_one_is_trained_alone():
    X, y = make_table("regression")
    Interrupts.n_fits = 0
    search = StackedGridSearchCV(make_estimator(callbacks=[Interrupts()]), GRID, cv=FOLDS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X, y)
    assert any("interrupted after 5 of 12 fits" in str(w.message) for w in caught)
    assert np.isfinite(search.cv_results_["split1_test_score"]).tolist() == [True, True, False, False]
    assert np.isfinite(search.cv_results_["split2_test_score"]).tolist() == [True, False, False, False]


@some_scores_are_nan
def test_ctrl_c_while_a_stack_is_trained(monkeypatch):
    X, y = make_table("regression", missing=0.0)
    fit_loop, calls = MultiTaskNet.fit_loop, []

    def interrupted(net, *args, **params):
        calls.append(net)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit_loop(net, *args, **params)

    monkeypatch.setattr(MultiTaskNet, "fit_loop", interrupted)
    search = StackedGridSearchCV(make_estimator(), {**GRID, "batch_size": [8, 16]}, cv=FOLDS)
    with pytest.warns(UserWarning, match="interrupted after 12 of 24 fits"):
        search.fit(X, y)
    assert len(calls) == 2


def test_ctrl_c_in_a_second_search_leaves_no_choice_of_the_first():
    def interrupts(estimator, X, y):
        scored.append(estimator)
        if len(scored) > 5:
            raise KeyboardInterrupt
        return 1.0

    X, y = make_table("regression")
    scored = []
    search = StackedGridSearchCV(make_estimator(), {"lr": [1e-3, 1e-2]}, cv=FOLDS).fit(X, y)
    search.set_params(param_grid={"batch_size": [8, 16, 24]}, scoring=interrupts)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        search.fit(X, y)
    assert [p["batch_size"] for p in search.cv_results_["params"]] == [8, 16, 24]
    assert not {"best_params_", "best_index_", "best_score_", "best_estimator_"} & vars(search).keys()
    with pytest.raises(AttributeError):
        search.predict(X)


def test_no_thread_outlives_a_search_that_raises():
    def fails_once(estimator, X, y):
        if estimator.batch_size == 8:
            raise RuntimeError("no score today")
        time.sleep(0.2)
        scored.append(estimator)
        return 1.0

    X, y = make_table("regression")
    scored = []
    grid = {"batch_size": [8, 16], "lr": [1e-3, 2e-3]}
    search = StackedGridSearchCV(make_estimator(), grid, cv=FOLDS, scoring=fails_once, n_jobs=2, error_score="raise")
    with pytest.raises(RuntimeError, match="no score today"):
        search.fit(X, y)
    n_scored = len(scored)
    time.sleep(0.5)
    assert len(scored) == n_scored


# ---- a drop-in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"), [(StackedGridSearchCV, GridSearchCV), (StackedRandomizedSearchCV, RandomizedSearchCV)]
)
def test_parameters_are_scikit_learns_and_two_more(ours, theirs):
    search, plain = ours(make_estimator(), GRID), theirs(make_estimator(), GRID)
    params = search.get_params(deep=False)
    assert params.pop("max_bytes") is None
    assert params.pop("refit_params") is None
    assert params.keys() == plain.get_params(deep=False).keys()
    copy = clone(search.set_params(max_bytes=1e6, n_jobs=2, estimator__lr=0.5))
    assert (copy.max_bytes, copy.n_jobs, copy.estimator.lr) == (1e6, 2, 0.5)
    assert "max_bytes=1000000.0" in repr(copy)
    assert repr(ours(make_estimator(), GRID)).startswith(f"{ours.__name__}(estimator=MultiTaskRegressor(")


def test_candidates_and_folds_of_one_random_state():
    X, y = make_table("regression")
    found = []
    for search in (StackedRandomizedSearchCV, RandomizedSearchCV):
        draws = np.random.RandomState(3)
        options = {"n_iter": 3, "cv": KFold(3, shuffle=True, random_state=draws), "random_state": draws}
        found.append(search(make_estimator(), {"lr": loguniform(1e-4, 1e-1)}, **options).fit(X, y))
    assert_same_results(*found)


def test_callbacks_of_scikit_learn_are_refused():
    search = StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS)
    with pytest.raises(AttributeError, match="StackedGridSearchCV calls no callbacks of scikit-learn.*verbose=3"):
        search.set_callbacks(object())
    assert not hasattr(search, "set_callbacks")  # so that a search around it passes none on


def test_a_pipelines_memory_is_used(tmp_path):
    X, y = make_table("regression")
    model = Pipeline([("scale", CountingScaler()), ("net", make_estimator())], memory=str(tmp_path))
    search = StackedGridSearchCV(model, {"net__lr": [1e-3, 1e-2]}, cv=FOLDS, refit=False)
    for expected in (3, 0):
        CountingScaler.fits.clear()
        search.fit(X, y)
        assert len(CountingScaler.fits) == expected


class TrackingScaler(CountingScaler):
    """Note how many tables of training rows exist at the same time, of all copies."""

    tables: list = []
    most = 0

    def fit_transform(self, X, y=None, **params):
        """Fit, transform and note."""
        rows = super().fit_transform(X, y, **params)
        TrackingScaler.tables.append(weakref.ref(rows))
        alive = sum(table() is not None for table in TrackingScaler.tables)
        TrackingScaler.most = max(TrackingScaler.most, alive)
        return rows


class Large(np.ndarray):
    """Rows that say that they take so many bytes."""

    nbytes = 0


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("held", [1, 2, 100])
def test_large_tables_are_held_a_few_at_a_time(held, jobs, monkeypatch):
    X, y = make_table("regression")
    model = Pipeline([("scale", TrackingScaler()), ("net", make_estimator())])
    grid = {"scale__with_mean": [True, False], "scale__with_std": [True, False], "net__lr": [1e-3, 1e-2]}
    plain = GridSearchCV(model, grid, cv=FOLDS, refit=False).fit(X, y)
    monkeypatch.setattr(Large, "nbytes", 128 * 2**20 // held)  # a job holds 128 MiB
    monkeypatch.setattr(TrackingScaler, "most", 0)
    TrackingScaler.tables.clear()
    CountingScaler.fits.clear()
    stacked = StackedGridSearchCV(model, grid, cv=FOLDS, refit=False, n_jobs=jobs).fit(X.view(Large), y)
    assert_same_results(stacked, plain)
    assert len(CountingScaler.fits) == 4 * 3
    assert TrackingScaler.most <= 2 * held * jobs if held < 100 else TrackingScaler.most == 12
    assert not any(table() is not None for table in TrackingScaler.tables)


def test_texts_in_a_series_and_the_steps_that_read_them():
    words = pd.Series(["red wine", "white wine", "beer", "red ale"] * 12)
    y = np.column_stack([words.str.len(), words.str.contains("red")]).astype(float)
    dense = FunctionTransformer(lambda counts: counts.toarray().astype(float), accept_sparse=True)
    model = Pipeline([("count", CountVectorizer()), ("dense", dense), ("net", make_estimator())])
    search_both(model, {"net__lr": [1e-3, 1e-2]}, words, y, stacks=1)


class Segmenter(ClassifierMixin, BaseEstimator):
    """A classifier of another package whose targets are pictures."""

    def __init__(self, share=0.5):
        self.share = share

    def fit(self, X, y):
        """Remember the mean picture."""
        self.mean_ = y.mean(axis=0)
        return self

    def score(self, X, y):
        """Return how alike pictures are."""
        return -float(np.abs(y - self.share * self.mean_).mean())


@pytest.mark.parametrize("cv", [2, FOLDS])
def test_targets_of_other_peoples_classifiers_may_be_anything(cv):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.integers(0, 2, size=(12, 4, 4))
    stacked, _ = search_both(Segmenter(), {"share": [0.1, 0.5]}, X, y, stacks=0, cv=cv, refit=True)
    assert stacked.best_estimator_.mean_.shape == (4, 4)


def test_no_targets():
    X, _ = make_table("regression")
    search_both(KMeans(random_state=0, n_init=1), {"n_clusters": [2, 3]}, X, None, stacks=0, refit=True)


class Liar(KFold):
    """Say that there is a fold more."""

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return a wrong number."""
        return super().get_n_splits(X, y, groups) + 1


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_a_splitter_that_gives_another_number_of_folds_than_it_says(search):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="inconsistent results. Expected 4 splits, got 3"):
        search(make_estimator(), GRID, cv=Liar(3)).fit(X, y)


@pytest.mark.parametrize("verbose", [2, 3, 10])
@pytest.mark.parametrize("scoring", ["r2", ["r2", "neg_mean_absolute_error"]])
@pytest.mark.parametrize("train", [False, True])
def test_verbose_prints_the_lines_that_scikit_learn_prints_of_each_fit(verbose, scoring, train, capsys):
    X, y = make_table("regression", missing=0.0)
    options = {"cv": FOLDS, "refit": False, "scoring": scoring, "return_train_score": train, "verbose": verbose}
    lines = []
    for search in (StackedGridSearchCV, GridSearchCV):
        search(make_estimator(), GRID, **options).fit(X, y)
        printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[CV") and "END" in line]
        lines.append(sorted(re.sub(r"\.{2,}|total time= .*", "", line) for line in printed))
    assert len(lines[0]) == 12
    assert lines[0] == lines[1]
