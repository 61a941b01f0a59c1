"""Bad input: every message names what is wrong, what must hold and what was found, before any training."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.exceptions import NotFittedError

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.preprocessing import TableEncoder
from skmtl.sharing import STRATEGIES
from skmtl.weighting import WEIGHTINGS
from tests._cases import make_estimator, make_table

X, Y = make_table("regression")
LABELS = make_table("multiclass")[1]
NAMED = pd.DataFrame(Y, columns=["height", "weight", "shoe", "hat"])
CLASSES = pd.DataFrame(LABELS, columns=["height", "weight", "shoe", "hat"])
both = pytest.mark.parametrize(
    ("kind", "y"), [("regression", NAMED), ("multiclass", CLASSES)], ids=["numbers", "classes"]
)


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """Fail the test if anything is trained."""

    def refuse(*args):
        raise AssertionError("trained on bad input")

    monkeypatch.setattr("skmtl._base.train", refuse)


def put(array, value, row=3, column=2):
    out = np.array(array, dtype=float)
    out[row, column] = value
    return out


# ---- X --------------------------------------------------------------------------------------------------------------

BAD_X = {
    "inf": (put(X, np.inf), "infinity"),
    "-inf": (put(X, -np.inf), "infinity"),
    "nan": (put(X, np.nan), "NaN"),
    "complex": (X + 1j, "Complex data not supported"),
    "words": (np.full(X.shape, "a"), "could not convert|dtype"),
    "1-D": (X[:, 0], "Expected 2D array, got 1D"),
    "3-D": (X[:, :, None], "dim 3"),
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "other length": (X[:-1], "inconsistent numbers of samples"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_X.values(), ids=BAD_X)
@both
def test_bad_features(kind, y, bad, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_estimator(kind).fit(bad, y)


@pytest.mark.parametrize("value", [np.inf, np.nan, "high"])
def test_a_bad_feature_is_named(value):
    frame = pd.DataFrame(X, columns=["a", "b", "income", "d", "e"]).astype({"income": object})
    frame.loc[3, "income"] = value
    with pytest.raises(ValueError, match="Column 'income' of X must hold finite numbers"):
        make_estimator().fit(frame, Y)
    with pytest.raises(ValueError, match="Column 2 of X must hold finite numbers"):
        make_estimator().fit(frame.to_numpy(), Y)


# ---- y --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@both
def test_an_infinite_label_is_named_by_task(kind, y, value):
    bad = y.copy()
    bad.iloc[3, 2] = value
    with pytest.raises(ValueError, match=r"infinity.*task 'shoe'"):
        make_estimator(kind).fit(X, bad)


@both
@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_a_task_without_a_label_is_named(kind, y, missing):
    bad = y.astype(object)
    bad["hat"] = missing
    with pytest.raises(ValueError, match=r"Task 'hat': every label is missing\. Give .* or drop the column"):
        make_estimator(kind).fit(X, bad)


@both
def test_tasks_of_one_name_are_refused(kind, y):
    with pytest.raises(ValueError, match="Task names must differ. Found more than once: 'shoe'"):
        make_estimator(kind).fit(X, y.rename(columns={"hat": "shoe"}))


@both
def test_targets_are_required(kind, y):
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        make_estimator(kind).fit(X, None)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:-1], "inconsistent numbers of samples"),
        (Y[:, :, None], "y must be 1-D or 2-D"),
        (Y[:, :0], "y must have at least one column"),
        (Y + 1j, "Complex data not supported"),
        (NAMED.astype(str), "Task 'height': a regression target must hold numbers. Found '"),
        (
            NAMED.astype(object).assign(hat=[1.0, "tall"] * 24),
            "Task 'hat': a regression target must hold numbers. Found 'tall'",
        ),
        (NAMED.assign(shoe="big"), "Task 'shoe': a regression target must hold numbers. Found 'big'"),
    ],
)
def test_bad_numbers(y, message):
    with pytest.raises(ValueError, match=message):
        make_estimator().fit(X, y)


def test_fractions_are_no_classes():
    with pytest.raises(ValueError, match=r"Task 'shoe'.*continuous"):
        make_estimator("binary").fit(X, CLASSES.assign(shoe=NAMED["shoe"]))


# ---- parameters -----------------------------------------------------------------------------------------------------

BAD_PARAMETERS = [
    *[({"sharing": v}, r"'sharing'.*'attention'.*'hard'.*'independent'.*'soft'|'sharing'") for v in ("harrd", None, 3)],
    *[({"weighting": v}, "'weighting'") for v in ("unequal", None)],
    *[({"activation": v}, "'activation'") for v in ("rellu", None)],
    *[({"optimizer": v}, "'optimizer'") for v in ("adamm", None, 3)],
    *[({"sharing_lambda": v}, "sharing_lambda") for v in (-1.0, -1e-9, np.nan, np.inf, "0.1", None)],
    *[
        ({"hidden_layer_sizes": v}, "hidden_layer_sizes")
        for v in ((0,), (8, -1), 0, -3, (2.5,), 2.5, "8", None, (True,))
    ],
    *[({"head_layer_sizes": v}, "head_layer_sizes") for v in ((0,), (8, -1), 0, 1.5, None)],
    *[({"dropout": v}, "dropout") for v in (-0.1, 1.0, 1.5, np.nan, "a")],
    *[({"lr": v}, "lr") for v in (0.0, -1.0, np.nan, "fast")],
    *[({"weight_decay": v}, "weight_decay") for v in (-1.0, np.nan, None)],
    *[({"batch_size": v}, "batch_size") for v in (0, -3, 1.5, "auto")],
    *[({"max_epochs": v}, "max_epochs") for v in (0, -1, 1.5)],
    *[({"validation_fraction": v}, "validation_fraction") for v in (0.0, 1.0, -0.5, np.nan)],
    *[({"n_iter_no_change": v}, "n_iter_no_change") for v in (0, -1, 2.5)],
    *[({"tol": v}, "tol") for v in (-1e-3, np.nan)],
    *[({"early_stopping": v}, "early_stopping") for v in ("yes", None)],
    *[({"warm_start": v}, "warm_start") for v in ("yes", None)],
    *[({"device": v}, "device") for v in ("gpu-please", 3, "")],
    *[({"dtype": v}, "dtype") for v in ("float16", np.float32, None)],
    *[({"random_state": v}, "random_state") for v in ("seed", 1.5, -1)],
    *[({"verbose": v}, "verbose") for v in ("loud", -1)],
    *[({"callbacks": v}, "callbacks") for v in ("EarlyStopping", 3)],
    *[({"task_weights": v}, "task_weights") for v in ("balanced", 3)],
]


@pytest.mark.parametrize(("params", "message"), BAD_PARAMETERS, ids=lambda v: str(v) if isinstance(v, dict) else "")
@both
def test_bad_parameters_are_named(kind, y, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_estimator(kind).set_params(**params).fit(X, y)


@pytest.mark.parametrize(
    ("parameter", "known"),
    [
        ("sharing", sorted(STRATEGIES)),
        ("weighting", sorted(WEIGHTINGS)),
        ("activation", ["gelu", "identity", "logistic", "relu", "silu", "tanh"]),
        ("optimizer", ["adam", "adamw", "sgd"]),
    ],
)
def test_an_unknown_name_lists_the_known_ones(parameter, known):
    with pytest.raises(ValueError, match="nonsense") as error:
        make_estimator().set_params(**{parameter: "nonsense"}).fit(X, Y)
    assert all(f"'{name}'" in str(error.value) for name in known)


# ---- weights --------------------------------------------------------------------------------------------------------

BAD_TASK_WEIGHTS = [
    ([1.0], r"one weight for each of the 4 tasks. Found shape \(1,\)"),
    ([1.0] * 5, r"one weight for each of the 4 tasks. Found shape \(5,\)"),
    (np.ones((4, 1)), r"Found shape \(4, 1\)"),
    ({"shoes": 1.0}, r"task_weights names unknown tasks \['shoes'\].*'height', 'weight', 'shoe', 'hat'"),
    ([1, 1, -1, 1], "task_weights must be finite, >= 0 and not all zero"),
    ([1, 1, np.nan, 1], "task_weights must be finite, >= 0 and not all zero"),
    ([1, 1, np.inf, 1], "task_weights must be finite, >= 0 and not all zero"),
    ([0, 0, 0, 0], "task_weights must be finite, >= 0 and not all zero"),
    ({"height": "heavy"}, "task_weights"),
    (["a", "b", "c", "d"], "task_weights"),
]


@pytest.mark.parametrize(("task_weights", "message"), BAD_TASK_WEIGHTS)
@both
def test_bad_task_weights(kind, y, task_weights, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(kind, task_weights=task_weights).fit(X, y)


BAD_CLASS_WEIGHTS = [
    ("heavy", "class_weight"),
    (["balanced"], "class_weight must hold one entry for each of the 4 tasks. Found 1"),
    ([None] * 5, "class_weight must hold one entry for each of the 4 tasks. Found 5"),
    ({"shoes": "balanced"}, r"class_weight names unknown tasks \['shoes'\]"),
    ({"shoe": {9.0: 2.0}}, r"Task 'shoe': class_weight names unknown classes \[9.0\], but not the classes \[0.0, 1.0"),
    ({"shoe": "heavy"}, "Task 'shoe': class_weight must be 'balanced', a dict or None. Found 'heavy'"),
    ({"shoe": 3.0}, "Task 'shoe': class_weight must be 'balanced', a dict or None. Found 3.0"),
    ([None, None, 3.0, None], "Task 'shoe': class_weight must be 'balanced', a dict or None. Found 3.0"),
    ({"shoe": {0.0: -1.0}}, "Task 'shoe': class weights must be finite and >= 0"),
    ({"shoe": {0.0: np.nan}}, "Task 'shoe': class weights must be finite and >= 0"),
    ({"shoe": {0.0: "a"}}, "Task 'shoe': class weights must be"),
    ({"shoe": dict.fromkeys(np.arange(5.0), 0.0)}, "Task 'shoe'.*weight zero"),
]


@pytest.mark.parametrize(("class_weight", "message"), BAD_CLASS_WEIGHTS)
def test_bad_class_weights(class_weight, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make_estimator("multiclass", class_weight=class_weight).fit(X, CLASSES)


N = len(X)
BAD_SAMPLE_WEIGHTS = [
    (np.zeros(N), "Sample weights must contain at least one non-zero number"),
    (np.zeros((N, 4)), "Sample weights must contain at least one non-zero number"),
    (np.ones((N, 4)) * [1, 1, 0, 1], "Task 'shoe': every observed label has weight zero"),
    (np.isnan(Y[:, [2] * 4]) * [0, 0, 1, 0] + [1, 1, 0, 1], "Task 'shoe': every observed label has weight zero"),
    (-np.ones(N), "Negative values in data passed to `sample_weight`"),
    (-np.ones((N, 4)), "Negative values in data passed to `sample_weight`"),
    (np.full(N, np.nan), "sample_weight contains NaN"),
    (np.full((N, 4), np.inf), "sample_weight must hold finite numbers. Found infinity"),
    (np.ones(N - 1), r"sample_weight must have shape \(48,\) or \(48, 4\). Found \(47,\)"),
    (np.ones((N, 3)), r"sample_weight must have shape \(48,\) or \(48, 4\). Found \(48, 3\)"),
    (np.ones((N, 4, 1)), r"sample_weight must be 1-D or 2-D. Found an array of shape \(48, 4, 1\)"),
]


@pytest.mark.parametrize(("weight", "message"), BAD_SAMPLE_WEIGHTS)
@both
def test_bad_sample_weights(kind, y, weight, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(kind).fit(X, y, sample_weight=weight)


# ---- validation data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X}, "X_val and y_val must be given together"),
        ({"y_val": Y}, "X_val and y_val must be given together"),
        ({"X_val": X[:, :3], "y_val": Y}, "3 features.*5 features"),
        (
            {"X_val": X, "y_val": Y[:, :3]},
            r"y_val must have one column for each of the 4 tasks \['height', .*\]. Found 3",
        ),
        ({"X_val": X, "y_val": Y[:-1]}, "inconsistent numbers of samples"),
        ({"X_val": X, "y_val": put(Y, np.inf)}, "Input y_val contains infinity.*task"),
        ({"X_val": X, "y_val": np.full_like(Y, np.nan)}, "every label is missing in y_val"),
        ({"X_val": put(X, np.nan), "y_val": Y}, "NaN"),
    ],
)
def test_bad_validation_data(given, message):
    with pytest.raises(ValueError, match=message):
        make_estimator().fit(X, NAMED, **given)


def test_validation_labels_must_be_known_classes():
    with pytest.raises(ValueError, match=r"Task 'shoe': unknown labels 9.0"):
        make_estimator("multiclass").fit(X, CLASSES, X_val=X, y_val=CLASSES.assign(shoe=9.0))


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (1, 0.1)])
def test_too_few_rows_to_split(n, fraction):
    model = make_estimator(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=f"validation_fraction={fraction} of {n} rows leaves an empty"):
        model.fit(X[:n], np.ones((n, 2)))


# ---- unfitted and other widths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.parametrize("method", ["predict", "predict_frame", "transform"])
def test_unfitted(estimator, method):
    with pytest.raises(NotFittedError, match=estimator.__name__):
        getattr(estimator(), method)(X)


def test_unfitted_scores_and_similarities():
    for use in (lambda m: m.score(X, Y), lambda m: m.score_tasks(X, Y), lambda m: m.task_similarity()):
        with pytest.raises(NotFittedError):
            use(MultiTaskRegressor())
    with pytest.raises(NotFittedError):
        MultiTaskClassifier().predict_proba(X)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("method", ["predict", "predict_frame", "transform"])
def test_another_width_at_predict(monkeypatch, sharing, method):
    monkeypatch.undo()
    model = make_estimator(sharing=sharing, max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but MultiTaskRegressor is expecting 5 features"):
        getattr(model, method)(X[:, :3])


@pytest.mark.parametrize("bad", [name for name in BAD_X if name not in ("other length", "no columns")])
def test_bad_features_at_predict(monkeypatch, bad):
    monkeypatch.undo()
    model = make_estimator(max_epochs=1).fit(X, Y)
    with pytest.raises((ValueError, TypeError), match=BAD_X[bad][1]):
        model.predict(BAD_X[bad][0])


def test_other_columns_at_score(monkeypatch):
    monkeypatch.undo()
    model = make_estimator(max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"column|shape|tasks"):
        model.score(X, Y[:, :3])


def test_an_unknown_parameter():
    with pytest.raises(TypeError, match="unexpected keyword argument 'hiden_layer_sizes'"):
        MultiTaskRegressor(hiden_layer_sizes=(8,))


# ---- what only the pipeline can read ---------------------------------------------------------------------------------

UNREADABLE = {
    "NaN": np.array([[1.0, np.nan]] * 6),
    "text": np.array([["a", 1.0]] * 6, dtype=object),
    "a frame with NaN": pd.DataFrame({"a": [1.0, None] * 3}),
    "nullable integers": pd.DataFrame({"a": pd.array([1, None] * 3, dtype="Int64")}),
    "categories": pd.DataFrame({"a": pd.Categorical(list("uvuvuv"))}),
    "strings": pd.DataFrame({"a": list("uvuvuv"), "b": range(6)}),
    "dates": pd.DataFrame({"a": pd.date_range("2020", periods=6)}),
    "dates and numbers": pd.DataFrame({"a": pd.date_range("2020", periods=6), "b": range(6)}),
    "durations": pd.DataFrame({"a": pd.to_timedelta(range(6), "h"), "b": range(6)}),
    "polars": pl.DataFrame({"a": list("uvuvuv")}),
    "polars dates": pl.DataFrame({"a": [datetime.date(2020, 1, day) for day in range(1, 7)]}),
}


@pytest.mark.parametrize("X", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("make", [MultiTaskRegressor, MultiTaskClassifier])
def test_what_only_the_pipeline_reads_is_refused_with_the_line_to_write(make, X):
    with pytest.raises((TypeError, ValueError), match=rf"skmtl\.table_pipeline\({make.__name__}\(\)\)"):
        make().fit(X, [0, 1, 0, 1, 0, 1])
    assert np.isfinite(TableEncoder().fit_transform(X)).all()


def test_infinity_is_not_a_matter_of_the_pipeline():
    with pytest.raises(ValueError, match="infinity") as caught:
        MultiTaskRegressor().fit(np.array([[1.0, np.inf]] * 6), np.arange(6.0))
    assert "table_pipeline" not in str(caught.value)
