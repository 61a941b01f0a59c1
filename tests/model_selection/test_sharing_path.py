"""The λ path: what it computes, says and draws."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.metrics import UndefinedTaskWarning, make_task_scorer
from skmtl.model_selection import sharing_path
from skmtl.model_selection._path import SharingPath
from skmtl.sharing import DenseStack, HardSharing, Sharing, SharingModule, SoftSharing
from tests._asserts import assert_within_promise
from tests._cases import WIDTHS, make_table
from tests._cases import make_odd_estimator as make_estimator

LAMBDAS = [0.0, 1e-3, 1.0]


def small_path():
    """Return a path of three λ, two tasks and two folds whose best can be seen."""
    scores = np.array([[[0.1, 0.3], [0.5, np.nan]], [[0.4, 0.6], [0.5, 0.5]], [[0.2, 0.2], [0.4, 0.4]]])
    return SharingPath(np.array(LAMBDAS), ["a", "b"], scores, "r2")


@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("sharing", ["soft", "attention"])
def test_scores_are_those_of_single_fits(sharing, hidden):
    X, y = make_table("regression", missing=0.0)
    model = make_estimator("regression", sharing, hidden)
    path = sharing_path(model, X, y, sharing_lambdas=[1.0, 0.0, 1e-3], cv=KFold(3))
    assert path.sharing_lambdas.tolist() == LAMBDAS
    assert path.scores.shape == (3, 4, 3)
    for k, value in enumerate(LAMBDAS):
        alone = cross_val_score(model.set_params(sharing_lambda=value), X, y, cv=KFold(3))
        assert_within_promise(path.scores[k].mean(0), alone)


def test_the_left_end_is_independent():
    X, y = make_table("multiclass", n_samples=90)
    model = make_estimator("multiclass", "soft")
    path = sharing_path(model, X, y, sharing_lambdas=[0.0], cv=2)
    other = make_estimator("multiclass", SoftSharing(), sharing_lambda=7.0)
    assert_within_promise(sharing_path(other, X, y, sharing_lambdas=[0], cv=2, n_jobs=2).scores, path.scores)


def test_lambdas_of_an_unseeded_estimator_start_alike():
    X, y = make_table("regression")
    model = make_estimator(sharing="soft", random_state=None, lr=1e-9)
    path = sharing_path(model, X, y, sharing_lambdas=[0.0, 1e-9], cv=2)
    np.testing.assert_allclose(path.scores[0], path.scores[1], atol=1e-6)


def test_default_lambdas_pipelines_and_names():
    X, y = make_table("regression")
    y = pd.DataFrame(y, columns=["a", "b", "average", "d"])
    model = make_pipeline(StandardScaler(), make_estimator(sharing="attention", max_epochs=1))
    path = sharing_path(model, X, y, cv=2, scoring=make_task_scorer("neg_mean_absolute_error"))
    assert path.sharing_lambdas[0] == 0
    np.testing.assert_allclose(path.sharing_lambdas[[1, -1]], [1e-5, 10.0])
    assert path.task_names == ["a", "b", "average", "d"]
    assert path.metric == "neg_mean_absolute_error"


def test_best_is_the_smallest_of_equals_over_defined_folds():
    path = small_path()
    np.testing.assert_allclose(path.task_mean, [[0.2, 0.5], [0.5, 0.5], [0.2, 0.4]])
    np.testing.assert_allclose(path.mean, [0.35, 0.5, 0.3])
    assert path.best_lambda.tolist() == [1e-3, 0.0]
    assert path.best_lambda_mean == 1e-3


def test_a_task_without_any_score():
    scores = np.array([[[np.nan], [0.5]], [[np.nan], [0.6]]])
    path = SharingPath(np.array([0.0, 1.0]), ["a", "b"], scores)
    assert np.isnan(path.best_lambda[0])
    assert path.best_lambda_mean == 1.0
    assert "nan" in path.summary()
    plt.close(path.plot().figure)


def test_a_task_that_is_undefined_in_a_fold_is_told():
    X, y = make_table("regression", missing=0.0)
    y[30:, 1] = np.nan
    model = make_estimator(sharing="soft", max_epochs=1)
    with pytest.warns(UndefinedTaskWarning, match="1 of 4 tasks .*'1' .1 of 3"):
        path = sharing_path(model, X, y, sharing_lambdas=LAMBDAS, cv=KFold(3))
    assert np.isnan(path.scores[:, 1, 2]).all()
    assert np.isfinite(path.mean).all()


def test_frame_and_summary():
    path = small_path()
    frame = path.to_frame()
    assert frame.columns.tolist() == ["a", "b", "mean"]
    assert frame.index.tolist() == LAMBDAS
    assert frame.loc[1e-3, "mean"] == 0.5
    lines = str(path).splitlines()
    assert lines[0] == "Scores: r2; greater is better."
    assert lines[1].split() == ["task", "λ", "=", "0", "λ", "=", "1", "best", "at", "λ"]
    assert lines[2].split() == ["a", "0.2000", "0.2000", "0.5000", "0.001"]
    assert lines[4].split() == ["mean", "0.3500", "0.3000", "0.5000", "0.001"]


@pytest.mark.parametrize("lambdas", [LAMBDAS, [0.01, 0.1, 1.0], [0.0]])
def test_figure(lambdas):
    scores = np.random.default_rng(0).random((len(lambdas), 3, 2))
    path = SharingPath(np.array(lambdas), ["a", "b", "c"], scores, "accuracy")
    _, ax = plt.subplots()
    assert path.plot(ax) is ax
    assert [line.get_label() for line in ax.lines] == ["a", "b", "c", "mean over tasks"]
    assert ax.lines[-1].get_linewidth() > ax.lines[0].get_linewidth()
    assert path.sharing_lambdas[ax.lines[-1].get_markevery()] == [path.best_lambda_mean]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax.figure.canvas.draw()
    plt.close(ax.figure)


@pytest.mark.parametrize("sharing", ["hard", "independent", HardSharing()])
def test_a_strategy_without_a_penalty_is_refused(sharing):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="has no penalty, so λ changes nothing.*sharing='soft'"):
        sharing_path(make_pipeline(StandardScaler(), make_estimator(sharing=sharing)), X, y)


class TiedColumns(SharingModule):
    """A linear map per task, pulled together or not."""

    per_task = True

    def __init__(self, shape, is_tied):
        super().__init__()
        sizes = (shape.n_features, *shape.hidden_layer_sizes)
        self.n_features_out, self.is_tied = sizes[-1], is_tied
        self.stack = DenseStack((shape.n_members, shape.n_tasks), sizes, shape.activation, shape.dropout)

    def forward(self, x):
        return self.stack(x if x.ndim == 2 else x.unsqueeze(1))

    def tied(self):
        return (self.stack,) if self.is_tied else ()


class OwnSharing(Sharing):
    """A strategy of a user's own."""

    def __init__(self, is_tied=True):
        self.is_tied = is_tied

    def build(self, shape):
        return TiedColumns(shape, self.is_tied)


def test_a_strategy_of_ones_own_needs_a_penalty():
    X, y = make_table("regression", missing=0.0)
    path = sharing_path(make_estimator(sharing=OwnSharing()), X, y, sharing_lambdas=[0.0, 10.0], cv=KFold(3))
    assert not np.allclose(path.scores[0], path.scores[1])
    with pytest.raises(ValueError, match="sharing=OwnSharing.* has no penalty, so λ changes nothing"):
        sharing_path(make_estimator(sharing=OwnSharing(is_tied=False)), X, y, cv=KFold(3))


def test_tied_heads_are_a_penalty():
    X, y = make_table("regression", missing=0.0)
    model = make_estimator(sharing=SoftSharing(tie_heads=True), hidden_layer_sizes=())
    assert sharing_path(model, X, y, sharing_lambdas=[0.0, 1.0], cv=KFold(3)).scores.shape == (2, 4, 3)


@pytest.mark.usefixtures("global_random_state_untouched")
def test_asking_for_a_penalty_draws_nothing():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="has no penalty"):
        sharing_path(make_estimator(), X, y)


def test_other_estimators_are_refused():
    X, y = make_table("regression")
    with pytest.raises(TypeError, match="needs an estimator of skmtl.*Ridge"):
        sharing_path(Ridge(), X, y)


@pytest.mark.parametrize("lambdas", [[], [-1.0], [np.nan], 0.1, [np.inf]])
def test_lambdas_that_are_none(lambdas):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="sharing_lambdas must be a list of finite numbers >= 0"):
        sharing_path(make_estimator(sharing="soft"), X, y, sharing_lambdas=lambdas)
