"""A search space to begin with."""

from __future__ import annotations

from scipy.stats import loguniform
from sklearn.pipeline import Pipeline

from skmtl._base import BaseMultiTask
from skmtl.model_selection._fit import last_step
from skmtl.preprocessing import TableEncoder
from skmtl.sharing import AttentionSharing

HARD_SHARE = 9
"""Of eleven candidates, those that share hard: a tower per task and attention take ten times as long."""


def search_space(estimator):
    """Return a space for a random search: how tasks share, widths, step size and regularisation.

    Parameters
    ----------
    estimator : estimator
        A `MultiTaskClassifier` or `MultiTaskRegressor`, or a pipeline that ends in one.

    Returns
    -------
    list of dict
        Lists and distributions by the names that the parameters have in this estimator: as
        ``param_distributions`` of a `StackedRandomizedSearchCV` or `sklearn.model_selection.RandomizedSearchCV`, or as
        ``param_grid`` of a `HalvingStackedSearchCV` with ``n_candidates``. Where a `TableEncoder` is a step of the
        pipeline, its ``numeric`` is in the space too.

    Raises
    ------
    TypeError
        If it is another estimator.

    Notes
    -----
    Nine candidates of eleven share hard, with trunks from none (a linear model) to 256 units; one is soft, one attends.
    Search single networks and refit an ensemble: ``n_members=1`` on the estimator, ``refit_params={"n_members": 10}``
    on the search.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor, table_pipeline
    >>> from skmtl.model_selection import search_space
    >>> space = search_space(table_pipeline(MultiTaskRegressor(n_members=1)))
    >>> sorted(space[0])[:3]
    ['model__dropout', 'model__hidden_layer_sizes', 'model__lr']
    >>> space[0]["table__numeric"]
    ['standard', 'standard', 'spline']
    """
    prefix, last = last_step(estimator)
    if not isinstance(last, BaseMultiTask):
        raise TypeError(f"search_space needs an estimator of skmtl, or a pipeline that ends in one. Found {last!r}.")
    common = {"lr": loguniform(1e-3, 2e-2), "weight_decay": loguniform(0.05, 5.0), "dropout": [0.0, 0.0, 0.1, 0.3]}
    trunks = [(), (64,), (64, 64), (128, 128), (256,)]
    tied = {"sharing_lambda": loguniform(1e-4, 1.0), **common}
    spaces = [{"sharing": ["hard"], "hidden_layer_sizes": trunks, **common}] * HARD_SHARE
    spaces.append({"sharing": ["soft"], "hidden_layer_sizes": [(16,), (64,)], **tied})
    spaces.append({"sharing": [AttentionSharing(n_tokens=4)], "hidden_layer_sizes": [(32,)], **tied})
    tables = {name: ["standard", "standard", "spline"] for name in _encoders(estimator)}
    return [{f"{prefix}{name}": values for name, values in space.items()} | tables for space in spaces]


def _encoders(estimator, prefix: str = "") -> list[str]:
    """Return what the parameter `numeric` of each table encoder in a pipeline is called."""
    if isinstance(estimator, TableEncoder):
        return [f"{prefix}numeric"]
    steps = estimator.steps if isinstance(estimator, Pipeline) else []
    return [found for name, step in steps for found in _encoders(step, f"{prefix}{name}__")]
