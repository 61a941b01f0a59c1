"""Did sharing help? The interval by hand, and verdicts on data where the answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import KFold, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.metrics import UndefinedTaskWarning, make_task_scorer
from skmtl.model_selection import transfer_gain
from skmtl.model_selection._gain import TransferGain, _holm, paired_interval
from skmtl.sharing import IndependentSharing
from tests.model_selection._stand_in import MeanSlopes, Trees


def _tasks(n=400, seed=0):
    """Four tasks of slope 1 and one of slope -1: giving all the mean slope must hurt the last."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 1))
    y = pd.DataFrame(X * [1.0, 1.0, 1.0, 1.0, -1.0] + rng.normal(size=(n, 5)), columns=list("abcde"))
    return X, y


# --- the interval ------------------------------------------------------------------------------------------------


def test_interval_by_hand():
    # Differences 1, 2, 3, 4, 5: mean 3, variance 2.5; five folds of equal size: n_test / n_train = 1/4.
    # Corrected variance of the mean: (1/5 + 1/4) * 2.5 = 1.125; t(0.975, 4) = 2.776445 (tables).
    mean, low, high, p = paired_interval(np.array([1.0, 2, 3, 4, 5]), 0.25, 0.95)
    half = 2.776445 * np.sqrt(1.125)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    assert p == pytest.approx(2 * stats.t.cdf(-3 / np.sqrt(1.125), 4))


def test_without_overlap_it_is_the_ordinary_paired_t_test():
    d = np.random.default_rng(0).normal(0.3, 1, 12)
    expected = stats.ttest_1samp(d, 0)
    mean, low, high, p = paired_interval(d, 0.0, 0.9)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert (mean, p) == pytest.approx((d.mean(), expected.pvalue))


def test_interval_covers_at_its_level():
    """Of 2,000 draws of folds without an effect and without overlap, 5 % +- 1.5 % are called an effect."""
    draws = np.random.default_rng(1).normal(size=(2000, 8))
    p = np.array([paired_interval(d, 0.0, 0.95)[3] for d in draws])
    assert abs((p < 0.05).mean() - 0.05) < 0.015


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.0, 0.0, 0.0], (0, 0, 0, 1)),
        ([0.5, 0.5, 0.5], (0.5, 0.5, 0.5, 0)),
        ([0.5, np.nan], (0.5, np.nan, np.nan, np.nan)),
        ([np.nan, np.nan], (np.nan, np.nan, np.nan, np.nan)),
    ],
)
def test_interval_at_its_limits(differences, expected):
    assert paired_interval(np.array(differences), 0.25, 0.95) == pytest.approx(expected, nan_ok=True)


def test_undefined_folds_are_left_out():
    full = paired_interval(np.array([1.0, 2.0, 4.0]), 0.5, 0.95)
    assert paired_interval(np.array([1.0, np.nan, 2.0, 4.0]), 0.5, 0.95) == full


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 -> .04 .06 .06 .04, made monotone -> .04 .06 .06 .06
    np.testing.assert_allclose(_holm(np.array([0.04, 0.01, np.nan, 0.03, 0.02])), [0.06, 0.04, np.nan, 0.06, 0.06])
    np.testing.assert_allclose(_holm(np.array([0.9, 0.8])), [1, 1])


# --- the comparison ----------------------------------------------------------------------------------------------


def test_a_task_that_differs_from_the_others_loses():
    X, y = _tasks()
    result = transfer_gain(MeanSlopes(), X, y, cv=5, confidence=0.99)
    assert result.verdict[4] == "lost"
    assert result.ci_high[4] < 0
    assert "lost" in str(result)


def test_tasks_that_mislead_alone_and_agree_together_gain():
    rng = np.random.default_rng(0)
    X, learnt = rng.normal(size=(600, 1)), np.arange(600) % 2 == 0
    bias = np.array([0.5, -0.5, 0.7, -0.7])  # of the slopes in the rows that count when fitting; their mean is right
    y = X * (1 + np.outer(learnt, bias)) + 0.1 * rng.normal(size=(600, 4))
    folds = [(np.flatnonzero(learnt), np.flatnonzero(~learnt)[k::5]) for k in range(5)]
    result = transfer_gain(MeanSlopes(), X, y, cv=folds, scoring="neg_mean_squared_error", correction="holm")
    assert result.verdict == ["gained"] * 4
    assert result.statement().startswith("4 of 4 tasks gained from sharing, 0 lost")
    # Alone the squared error is bias² E[x²], E[x²] being that of the scored rows.
    np.testing.assert_allclose(result.gain, bias**2 * (X[~learnt] ** 2).mean(), rtol=0.1)


def test_scores_are_those_of_the_two_estimators_on_the_same_folds():
    X, y = _tasks(60)
    cv = KFold(3)
    result = transfer_gain(MeanSlopes(), X, y, cv=cv, scoring="neg_mean_squared_error")
    scorer = make_task_scorer("neg_mean_squared_error")
    for fold, (train, test) in enumerate(cv.split(X)):
        for scores, sharing in ((result.shared, "hard"), (result.alone, "independent")):
            own = scorer(MeanSlopes(sharing).fit(X[train], y.iloc[train]), X[test], y.iloc[test])
            assert scores[:, fold].tolist() == [own[name] for name in "abcde"]
    np.testing.assert_allclose(result.gain, (result.shared - result.alone).mean(axis=1))
    assert result.test_train_ratio == pytest.approx(0.5)
    assert result.task_names == list("abcde")


@pytest.mark.parametrize("random_state", [None, 3, np.random.RandomState(0)], ids=["None", "int", "RandomState"])
def test_both_sides_have_the_same_seed(random_state):
    X, y = _tasks(60)
    model = MeanSlopes(sharing="alone by another name", noise=1.0, random_state=random_state)
    for estimator in (model, make_pipeline(StandardScaler(), model)):
        result = transfer_gain(estimator, X, y)
        np.testing.assert_array_equal(result.shared, result.alone)
        assert result.verdict == ["cannot tell"] * 5
        assert result.statement() == ("0 of 5 tasks gained from sharing, 0 lost, 5 cannot be told apart at 95 %.")


def test_the_users_estimator_is_left_alone():
    X, y = _tasks(40)
    model = MeanSlopes()
    transfer_gain(model, X, y, cv=2)
    assert model.get_params() == {"sharing": "hard", "noise": 0.0, "random_state": None}
    assert not hasattr(model, "slopes_")


def test_folds_and_repeats():
    X, y = _tasks(40)
    assert transfer_gain(MeanSlopes(), X, y).shared.shape == (5, 10)
    assert transfer_gain(MeanSlopes(), X, y, cv=3, n_repeats=4).shared.shape == (5, 12)
    assert transfer_gain(MeanSlopes(), X, y, cv=RepeatedKFold(n_splits=2, n_repeats=2)).shared.shape == (5, 4)
    repeated = transfer_gain(MeanSlopes(), X, y, cv=3, n_repeats=2).shared
    assert (repeated[:, :3] != repeated[:, 3:]).any()
    np.testing.assert_array_equal(repeated, transfer_gain(MeanSlopes(), X, y, cv=3, n_repeats=2, n_jobs=2).shared)


def test_classifier_defaults_to_accuracy_and_undefined_folds_are_told_once():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.integers(0, 2, size=(40, 2)).astype(float)
    assert transfer_gain(Trees(), X, y, cv=2).metric == "accuracy"
    y[:20, 1] = np.nan
    with pytest.warns(
        UndefinedTaskWarning, match=r"1 of 2 tasks are undefined in some folds.*'1' \(1 of 2\)"
    ) as caught:
        result = transfer_gain(Trees(), X, y, cv=[(np.r_[10:40], np.r_[:10]), (np.r_[:30], np.r_[30:40])])
    assert len(caught) == 1
    assert result.verdict[1] == "cannot tell"
    assert np.isnan(result.shared[1, 0])
    assert np.isnan(result.ci_low[1])


def test_fit_parameters_are_split_with_the_rows():
    X, y = np.ones((4, 1)), np.array([[1.0], [3.0], [5.0], [7.0]])
    folds = [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    result = transfer_gain(
        MeanSlopes(), X, y, cv=folds, scoring="neg_mean_absolute_error", params={"sample_weight": [1.0, 3.0, 1.0, 0.0]}
    )
    np.testing.assert_allclose(result.shared, [[-3.0, -3.5]])  # slopes 5 and 2.5


@pytest.mark.parametrize(
    ("estimator", "kwargs", "message"),
    [
        (MeanSlopes("independent"), {}, "already is independent.*sharing='hard'"),
        (make_pipeline(StandardScaler(), MeanSlopes("independent")), {}, "already is independent"),
        (MeanSlopes(IndependentSharing()), {}, "already is independent"),
        (StandardScaler(), {}, "parameter 'sharing'"),
        (MeanSlopes(), {"confidence": 95}, "between 0 and 1. Found 95"),
        (MeanSlopes(), {"correction": "bonferroni"}, "None or 'holm'. Found 'bonferroni'"),
        (MeanSlopes(), {"n_repeats": 0}, "n_repeats must be a whole number >= 1"),
        (MeanSlopes(), {"n_repeats": 2, "cv": KFold(3)}, "RepeatedKFold"),
        (MeanSlopes(), {"cv": [([0, 1], [2, 3])]}, "at least two folds. Found 1"),
        (MeanSlopes(), {"scoring": "r3"}, "Unknown metric 'r3'"),
        (MeanSlopes(), {"y": None}, "same number of rows"),
    ],
)
def test_bad_input(estimator, kwargs, message):
    X, y = _tasks(20)
    with pytest.raises(ValueError, match=message):
        transfer_gain(estimator, X, **({"y": y} | kwargs))


# --- what it shows -----------------------------------------------------------------------------------------------


@pytest.fixture
def result():
    alone = np.zeros((4, 5))
    noise = np.array([-0.1, 0.1, 0.0, -0.05, 0.05])
    shared = np.stack([1 + noise, -1 + noise, noise, np.full(5, np.nan)])
    return TransferGain(["warm", "cold", "b", "empty"], shared, alone, 0.25, metric="r2")


def test_table_sentence_and_frame(result):
    assert result.verdict == ["gained", "lost", "cannot tell", "cannot tell"]
    lines = str(result).splitlines()
    assert lines[0] == "Scores: r2; greater is better."
    assert lines[1].split() == ["task", "alone", "shared", "gain", "95", "%", "interval", "verdict"]
    assert lines[2].split()[:4] == ["warm", "0.0000", "1.0000", "+1.0000"]
    assert lines[-1] == "1 of 4 tasks gained from sharing, 1 lost, 2 cannot be told apart at 95 %."
    frame = result.to_frame()
    assert frame.index.tolist() == result.task_names
    assert frame.loc["cold", "gain"] == pytest.approx(-1)
    assert frame.columns.tolist() == ["alone", "shared", "gain", "ci_low", "ci_high", "p_value", "verdict"]


def test_holm_changes_verdicts_and_says_so():
    noise = np.array([-1.0, 1.0, 0.0, -0.5, 0.5])
    shared = np.stack([1.6 + noise] + [noise] * 19)
    plain = TransferGain([str(t) for t in range(20)], shared, np.zeros((20, 5)), 0.25)
    holm = TransferGain([str(t) for t in range(20)], shared, np.zeros((20, 5)), 0.25, correction="holm")
    assert plain.verdict[0] == "gained"
    assert holm.verdict[0] == "cannot tell"
    assert holm.p_value[0] == pytest.approx(20 * plain.p_value[0])
    assert holm.statement().endswith("at 95 % after Holm's correction.")


def test_figure_is_sorted_by_gain(result):
    import matplotlib.pyplot as plt

    ax = result.plot()
    try:
        assert [label.get_text() for label in ax.get_yticklabels()] == ["cold", "b", "warm", "empty"]
        assert "95 %" in ax.get_xlabel()
        assert ax.get_legend() is not None
        assert result.plot(ax) is ax
    finally:
        plt.close(ax.figure)
