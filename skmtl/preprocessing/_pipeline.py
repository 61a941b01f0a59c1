"""An estimator behind a table encoder."""

from __future__ import annotations

from sklearn.pipeline import Pipeline

from skmtl.preprocessing._encoder import TableEncoder


def table_pipeline(estimator):
    """Return a pipeline that reads tables as people have them, and then fits this estimator.

    Parameters
    ----------
    estimator : estimator
        What learns from the encoded table, such as a `MultiTaskRegressor`.

    Returns
    -------
    sklearn.pipeline.Pipeline
        With the steps ``"table"``, a `TableEncoder`, and ``"model"``, the estimator. A search reaches into both:
        ``table__numeric``, ``model__lr``.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmtl import MultiTaskRegressor, table_pipeline
    >>> X = pd.DataFrame({"size": [3.0, np.nan, 5.0], "hue": ["red", "blue", None]})
    >>> y = pd.DataFrame({"price": [1.0, 2.0, 3.0], "mass": [0.1, np.nan, 0.3]})
    >>> model = table_pipeline(MultiTaskRegressor(random_state=0)).fit(X, y)
    >>> model.predict(X).shape
    (3, 2)
    """
    return Pipeline([("table", TableEncoder()), ("model", estimator)])
