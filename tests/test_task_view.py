"""One task of a fitted estimator, in scikit-learn's tools for one target."""

import copy
import pickle

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import PartialDependenceDisplay, partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, MultiTaskLasso
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
    accuracy_score,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, TaskView, table_pipeline
from skmtl.preprocessing import TableEncoder
from skmtl.tasks import (
    Censored,
    Chain,
    Classification,
    Count,
    Gaussian,
    Hierarchy,
    Multilabel,
    Ordinal,
    Quantile,
    Regression,
    Survival,
)
from tests._cases import STRATEGIES, make_estimator, make_table

matplotlib.use("Agg")

N = 90
SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 4, "n_members": 2, "early_stopping": False, "random_state": 0}


def mixed_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    f = X[:, 0]
    y = pd.DataFrame({"size": f, "kind": np.where(f > 0, "big", "small"), "stage": np.digitize(f, [-1, 0, 1])})
    y["count"], y["band"], y["noisy"] = rng.poisson(np.exp(f)), f, f
    y["days"], y["cause"] = rng.exponential(np.exp(-f)), rng.integers(0, 3, N)
    y["dose"], y["rel"] = np.minimum(f, 0.5), np.where(f > 0.5, ">", "=")
    y["l1"], y["l2"] = rng.random((2, N)) < 0.5
    y["click"] = f > 0
    y["buy"] = y["click"] & (X[:, 1] > 0)
    y["top"] = np.where(X[:, 2] > 0, "x", "y")
    y["sub"] = y["top"] + np.where(X[:, 3] > 0, "1", "2")
    tasks = {
        "size": "regression", "kind": "classification", "stage": Ordinal(), "count": Count(),
        "band": Quantile([0.1, 0.5, 0.9]), "noisy": Gaussian(), "death": Survival("days", "cause", n_intervals=5),
        "dose": Censored("rel"), "labels": Multilabel(["l1", "l2"]), "funnel": Chain("click", "buy"),
        "topic": Hierarchy("top", "sub"),
    }  # fmt: skip
    return X, y, MultiTaskEstimator(tasks, **SMALL).fit(X, y)


X, Y, MIXED = mixed_table()
LABELS = (make_table("binary", missing=0.0)[0], make_table("binary", missing=0.0)[1].astype(int))


def classifier():
    return make_estimator("binary", n_members=2).fit(*LABELS)


# ---- what it predicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXED.task_names_)
def test_a_view_predicts_its_columns(name):
    view = MIXED.task(name)
    columns = MIXED.tasks_[name].output_names(name)
    expected = MIXED.predict_frame(X)[columns].to_numpy()
    assert (view.predict(X).reshape(N, -1) == expected).all()
    assert is_classifier(view) == (name in ("kind", "stage"))
    assert is_regressor(view) == (name in ("size", "count", "band", "noisy", "dose"))
    again = pickle.loads(pickle.dumps(view))
    assert (again.predict(X) == view.predict(X)).all()
    assert clone(view) is view
    assert view.fit(X, Y) is view
    assert np.isfinite(view.score(X, Y[[*MIXED.tasks_[name].claims(name)]].squeeze(axis=1)))


def test_what_only_a_kind_has():
    times = [0.1, 0.5, 1.0]
    quantiles = MIXED.task("band").predict_quantiles(X)
    assert quantiles.shape == (N, 3)
    assert (np.diff(quantiles, axis=1) > 0).all()
    np.testing.assert_allclose(quantiles[:, 1], MIXED.task("band").predict(X))
    for name in ("noisy", "dose"):
        view = MIXED.task(name)
        lower, upper = view.predict_interval(X, coverage=0.6827).T
        np.testing.assert_allclose((upper - lower) / 2, view.predict_std(X), rtol=1e-4)
        np.testing.assert_allclose((upper + lower) / 2, view.predict(X), atol=1e-6)
    survival = MIXED.task("death").predict_survival_function(X, times)
    incidence = MIXED.task("death").predict_cumulative_incidence(X, times)
    assert survival.shape == (N, 3)
    assert incidence.shape == (N, 2, 3)
    assert (np.diff(survival, axis=1) <= 0).all()
    for cut in MIXED.tasks_["death"].cuts_:  # between cuts both are straight lines
        total = MIXED.task("death").predict_cumulative_incidence(X, [cut]).sum(axis=1)
        np.testing.assert_allclose(total + MIXED.task("death").predict_survival_function(X, [cut]), 1.0, rtol=1e-6)
    for method in ("predict_quantiles", "predict_interval", "predict_std", "predict_survival_function"):
        assert not hasattr(MIXED.task("kind"), method)
    assert not hasattr(MIXED.task("size"), "predict_proba")


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_a_view_of_the_classifier_and_the_regressor(kind):
    X, y = make_table(kind)
    model = make_estimator(kind, n_members=2).fit(X, y)
    for task in range(4):
        view = model.task(str(task))
        assert (model.task(task).predict(X) == view.predict(X)).all()
        np.testing.assert_array_equal(view.predict(X), model.predict(X)[:, task])
        if kind != "regression":
            np.testing.assert_array_equal(view.predict_proba(X), model.predict_proba(X)[task])
            np.testing.assert_array_equal(view.predict_log_proba(X), model.predict_log_proba(X)[task])
            np.testing.assert_array_equal(view.classes_, model.classes_[task])
        seen = ~np.isnan(y[:, task])
        assert view.score(X[seen], y[seen, task]) == pytest.approx(list(model.score_tasks(X, y).values())[task])


def test_a_view_of_other_estimators_pipelines_and_searches():
    X, y = LABELS
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    np.testing.assert_array_equal(TaskView(forest, 2).predict_proba(X), forest.predict_proba(X)[2])
    trees = RandomForestRegressor(5, random_state=0).fit(X, y)
    assert is_regressor(TaskView(trees, 1))
    np.testing.assert_array_equal(TaskView(trees, 1).predict(X), trees.predict(X)[:, 1])
    frame = pd.DataFrame(y, columns=list("abcd"))
    pipe = table_pipeline(make_estimator("binary")).fit(X, frame)
    np.testing.assert_array_equal(TaskView(pipe, "c").predict_proba(X), pipe.predict_proba(X)[2])
    search = GridSearchCV(pipe, {"model__lr": [0.01, 0.02]}, cv=2).fit(X, frame)
    np.testing.assert_array_equal(TaskView(search, "c").predict(X), search.predict(X)[:, 2])
    encoded = pipe[:-1].transform(X)
    np.testing.assert_allclose(
        TaskView(pipe, "c").module()(torch.from_numpy(encoded)).numpy(), pipe.predict_proba(X)[2], atol=1e-6
    )
    assert isinstance(pipe[0], TableEncoder)


def test_what_members_predict():
    X, y = make_table("regression")
    model = make_estimator(n_members=3).fit(X, y)
    np.testing.assert_array_equal(model.task(2).predict_members(X), model.predict_members(X)[..., 2])
    np.testing.assert_array_equal(model.task(2).predict_std(X), model.predict_std(X)[:, 2])
    assert model.task(2).predict_std(sparse.csr_array(X)).shape == (48,)
    for name in MIXED.task_names_:
        columns = [MIXED.output_names_.index(column) for column in MIXED.tasks_[name].output_names(name)]
        expected = MIXED.predict_members(globals()["X"])[..., columns]
        members = MIXED.task(name).predict_members(globals()["X"])
        assert (members.reshape(expected.shape) == expected).all()
    assert not hasattr(TaskView(RandomForestRegressor(3).fit(X, np.nan_to_num(y)), 0), "predict_members")


def test_probabilities_of_tasks_of_several_columns():
    expected = MIXED.predict_proba(X)
    for name in ("labels", "funnel"):
        np.testing.assert_array_equal(MIXED.task(name).predict_proba(X), expected[name])
    assert [level.shape for level in MIXED.task("topic").predict_proba(X)] == [(N, 2), (N, 4)]
    assert not hasattr(MIXED.task("labels"), "predict_log_proba")
    assert not hasattr(MIXED.task("labels"), "classes_")


def test_the_interval_between_two_quantiles():
    view = MIXED.task("band")
    np.testing.assert_array_equal(view.predict_interval(X, coverage=0.8), view.predict_quantiles(X)[:, [0, 2]])
    with pytest.raises(ValueError, match=r"coverage=0.9 needs the quantiles 0.05 and 0.95. Found \[0.1, 0.5, 0.9\]"):
        view.predict_interval(X)


@pytest.mark.parametrize("name", MIXED.task_names_)
def test_a_score_finds_the_columns_of_the_task(name):
    view, claims = MIXED.task(name), MIXED.tasks_[name].claims(name)
    expected = view.score(X, Y[claims])
    assert view.score(X, Y) == expected
    assert view.score(X, Y[claims[::-1]]) == expected
    assert view.score(X, Y.to_numpy(dtype=object)) == expected
    if is_classifier(view) or (is_regressor(view) and len(claims) == 1):
        assert view.score(X, Y[name].to_numpy()) == expected
    else:
        assert expected == pytest.approx(MIXED.score_tasks(X, Y)[name])
    with pytest.raises(ValueError, match=f"of task '{name}'. Found 3 columns"):
        view.score(X, np.zeros((N, 3)))


def test_a_score_skips_missing_labels_and_weights():
    X, y = LABELS
    view, gaps = classifier().task(1), y[:, 1].astype(float)
    gaps[::3] = np.nan
    seen = ~np.isnan(gaps)
    assert view.score(X, gaps) == accuracy_score(y[seen, 1], view.predict(X[seen]))
    assert view.score(X, gaps, sample_weight=np.arange(48) < 10) == view.score(X[:10], gaps[:10])
    assert np.isnan(view.score(X, np.full(48, np.nan)))


def test_a_score_refuses_rows_without_the_features_of_the_task():
    y = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "p", "q")})
    gaps = np.where((np.arange(N) < 9)[:, None] & (np.arange(4) == 1), np.nan, X)
    y.loc[:8, "b"] = None
    tasks = {"a": Regression(features=[0]), "b": Classification(features=[1])}
    model = MultiTaskEstimator(tasks, **SMALL).fit(gaps, y)
    assert np.isfinite(model.task("b").score(gaps, y))
    y["b"] = "p"
    with pytest.raises(ValueError, match="Task 'b': 9 rows with a label lack a column of X that it reads"):
        model.task("b").score(gaps, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        KNeighborsRegressor(),
        MLPRegressor(max_iter=5),
        MultiOutputRegressor(LinearRegression()),
        RegressorChain(LinearRegression()),
        MultiTaskLasso(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_regressors_of_scikit_learn(estimator):
    X, y = LABELS
    fitted = estimator.fit(X, y * 1.0)
    for task in range(4):
        np.testing.assert_array_equal(TaskView(fitted, task).predict(X), fitted.predict(X)[:, task])
    with pytest.raises(ValueError, match=r"has no task 4. Its tasks are \[0, 1, 2, 3\]"):
        TaskView(fitted, 4).predict(X)
    with pytest.raises(AttributeError, match="has no attribute 'module': it is of"):
        TaskView(fitted, 0).module()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(),
        MultiOutputClassifier(LogisticRegression()),
        MLPClassifier(max_iter=5),
        OneVsRestClassifier(LogisticRegression()),
        ClassifierChain(LogisticRegression()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_classifiers_of_scikit_learn(estimator):
    X, y = LABELS
    fitted = estimator.fit(X, y)
    proba = fitted.predict_proba(X)
    for task in range(4):
        view = TaskView(fitted, task)
        expected = proba[task][:, 1] if isinstance(proba, list) else proba[:, task]
        np.testing.assert_array_equal(view.classes_, [0, 1])
        np.testing.assert_array_equal(view.predict(X), fitted.predict(X)[:, task])
        np.testing.assert_array_equal(view.predict_proba(X)[:, 1], expected)
        np.testing.assert_allclose(view.predict_proba(X).sum(axis=1), 1.0)


def test_a_classifier_of_one_task():
    X, y = LABELS
    for estimator in (MLPClassifier(max_iter=200, tol=1.0), LogisticRegression()):
        fitted = estimator.fit(X, y.sum(axis=1))
        np.testing.assert_array_equal(TaskView(fitted, 0).predict_proba(X), fitted.predict_proba(X))
        np.testing.assert_array_equal(TaskView(fitted, 0).classes_, fitted.classes_)
        with pytest.raises(ValueError, match="has no task 1"):
            TaskView(fitted, 1).predict(X)


def test_frozen_pipelines_and_searches():
    frozen = FrozenEstimator(make_pipeline(StandardScaler(), clone(MIXED)).fit(X, Y))
    np.testing.assert_array_equal(
        TaskView(frozen, "band").predict_quantiles(X), TaskView(frozen.estimator, "band").predict_quantiles(X)
    )
    assert TaskView(frozen, "size").predict_members(X).shape == (2, N)


# ---- torch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("heads", [(), (6,)], ids=["linear heads", "deep heads"])
def test_a_module_returns_what_the_view_predicts(sharing, kind, heads):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing, n_members=2, head_layer_sizes=heads, dtype="float64").fit(X, y)
    for task in (0, 3):
        view = model.task(task)
        x = torch.from_numpy(X).requires_grad_()
        out = view.module()(x)
        expected = view.predict(X) if kind == "regression" else view.predict_proba(X)
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-6, atol=1e-9)
        (gradient,) = torch.autograd.grad(out.sum() if kind == "regression" else out[:, -1].sum(), x)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", [n for n in MIXED.task_names_ if n not in ("topic",)])
def test_modules_of_every_kind(name):
    view = MIXED.task(name)
    out = view.module()(torch.from_numpy(X)).numpy()
    if name in ("labels", "funnel", "kind", "stage"):
        np.testing.assert_allclose(out, MIXED.predict_proba(X)[name], rtol=1e-6, atol=1e-9)
    else:
        np.testing.assert_allclose(out, view.predict(X), rtol=1e-6, atol=1e-9)


def test_activations_are_modules():
    X, y = make_table("regression")
    module = make_estimator(hidden_layer_sizes=(8, 4), activation="tanh").fit(X, y).task(0).module()
    assert [type(m) for m in module.members[0]] == [
        torch.nn.Linear, torch.nn.Tanh, torch.nn.Linear, torch.nn.Tanh, torch.nn.Linear,
    ]  # fmt: skip


def test_links_of_classes_are_modules_with_rows_first():
    """DeepLift of captum and shap doubles the rows of every module that it hooks."""
    for kind, link in (("binary", torch.nn.Sigmoid), ("multiclass", torch.nn.Softmax)):
        X, y = make_table(kind)
        for sharing in ("hard", "attention"):
            module = make_estimator(kind, sharing, n_members=2).fit(X, y).task(0).module()
            seen = []
            for member in module.members:
                assert type(member[-1]) is link
                member[-1].register_forward_hook(lambda m, args, out, seen=seen: seen.append(out.shape[0]))
            module(torch.from_numpy(X[:7]))
            assert seen == [7, 7]


def test_a_task_that_was_added_has_a_module_too():
    X, y = make_table("regression")
    model = make_estimator().fit(X, y).add_task(X, X[:, 0], "new")
    for task in (0, 4):
        out = model.task(task).module()(torch.from_numpy(X)).numpy()
        np.testing.assert_allclose(out, model.predict(X)[:, task], rtol=1e-6, atol=1e-9)


# ---- as an estimator ------------------------------------------------------------------------------------------------


def test_a_view_is_frozen():
    X, _ = LABELS
    model = classifier()
    view = TaskView(model, "1")
    assert repr(view) == "TaskView(MultiTaskClassifier(...), '1')"
    assert view.get_params() == {"estimator": model, "task": "1"}
    with pytest.raises(AttributeError):
        view.transform  # noqa: B018
    assert view.set_params(task="2") is view
    np.testing.assert_array_equal(view.predict(X), model.predict(X)[:, 2])
    tags = get_tags(view)
    assert tags.estimator_type == "classifier"
    assert tags.input_tags.sparse
    assert not tags.target_tags.multi_output
    assert get_tags(MIXED.task("death")).estimator_type is None
    assert copy.deepcopy(view).predict(X).tolist() == view.predict(X).tolist()
    assert "TaskView" in view._repr_html_()
    unfitted = TaskView(MultiTaskEstimator(), "a")
    assert not hasattr(unfitted, "predict_proba")
    with pytest.raises(NotFittedError):
        unfitted.predict_proba(X)
    with pytest.raises(AttributeError, match=r"The estimator has no task 'nobody'. Its tasks are \['size'"):
        TaskView(MIXED, "nobody").predict_proba(X)
    pickle.loads(pickle.dumps(TaskView(MIXED, "nobody")))


def test_calibration_uses_all_rows_at_once():
    X, y = LABELS
    view = classifier().task(1)
    one = CalibratedClassifierCV(view).fit(X, y[:, 1])
    other = CalibratedClassifierCV(FrozenEstimator(view)).fit(X, y[:, 1])
    assert len(one.calibrated_classifiers_) == 1
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


# ---- scikit-learn's tools -------------------------------------------------------------------------------------------


def test_calibration_and_thresholds():
    X, y = LABELS
    view = classifier().task(1)
    for method in ("sigmoid", "isotonic"):
        calibrated = CalibratedClassifierCV(view, method=method).fit(X, y[:, 1])
        np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0)
    tuned = TunedThresholdClassifierCV(view, cv="prefit", refit=False).fit(X, y[:, 1])
    assert set(tuned.predict(X)) <= {0, 1}
    fixed = FixedThresholdClassifier(view, threshold=0.9).fit(X, y[:, 1])
    np.testing.assert_array_equal(fixed.predict(X), (view.predict_proba(X)[:, 1] >= 0.9).astype(int))


def test_displays():
    X, y = LABELS
    view = classifier().task(1)
    for display in (
        RocCurveDisplay,
        PrecisionRecallDisplay,
        DetCurveDisplay,
        ConfusionMatrixDisplay,
        CalibrationDisplay,
    ):
        assert display.from_estimator(view, X, y[:, 1]) is not None
    regressor = MIXED.task("size")
    assert PredictionErrorDisplay.from_estimator(regressor, globals()["X"], Y["size"]) is not None
    assert PartialDependenceDisplay.from_estimator(view, X, [0]) is not None
    matplotlib.pyplot.close("all")


def test_partial_dependence_and_permutation_importance():
    X, y = LABELS
    view = classifier().task(1)
    importance = permutation_importance(view, X, y[:, 1], n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (5,)
    assert partial_dependence(view, X, [0], kind="average").average.shape[0] == 1


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_viewed():
    with pytest.raises(ValueError, match=r"The estimator has no task 'nobody'. Its tasks are \['size'"):
        MIXED.task("nobody")
    with pytest.raises(ValueError, match="has no task 11"):
        MIXED.task(11)
    with pytest.raises(NotFittedError):
        TaskView(MultiTaskRegressor(), 0).predict([[0.0]])
    with pytest.raises(NotFittedError):
        MultiTaskClassifier().task(0)
    with pytest.raises(AttributeError, match="has no attribute 'predict_std'"):
        MIXED.task("kind").predict_std(X)
    with pytest.raises(ValueError, match="Hierarchy has no torch module"):
        MIXED.task("topic").module()(torch.from_numpy(X))
