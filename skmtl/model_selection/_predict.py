"""Out-of-fold predictions that keep missing labels missing."""

from __future__ import annotations

import numpy as np
from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from skmtl._labels import common_dtype, objects_of
from skmtl._table import TargetTable, read_targets
from skmtl.model_selection._folds import as_splitter, check_same_length, fit_rows, take_rows, with_groups
from skmtl.model_selection._sklearn_private import _num_samples
from skmtl.preprocessing import records
from skmtl.tasks import sorted_classes

_METHODS = ("predict", "predict_proba", "predict_log_proba")


def cross_val_predict(estimator, X, y, *, cv=None, method="predict", n_jobs=None, params=None):
    """Predict every row with a model that was not fitted on it.

    scikit-learn's function of this name encodes the labels of a 2-D `y` before it fits, so that NaN becomes a class.
    Here `y` reaches the estimator as it was given, rows of it only, and missing labels stay missing.

    Parameters
    ----------
    estimator : estimator
        It is cloned for each fold.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows to fit and predict.
    y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        Targets, with missing labels if the estimator takes them.
    cv : int, splitter or iterable of (train, test), default=None
        An integer k is ``MultiTaskKFold(k, random_state=0)``, None means 5. Each row must be tested exactly once.
    method : {"predict", "predict_proba", "predict_log_proba"}, default="predict"
        What is asked of each model.
    n_jobs : int, default=None
        Folds fitted at the same time, as in joblib.
    params : dict, default=None
        Parameters of ``fit``; those with one entry per row, such as ``sample_weight``, are split with the rows.
        ``groups`` also goes to the splitter, and to ``fit`` only if that takes them. With metadata routing enabled all
        go where they are requested: to ``fit`` and to the splitter.

    Returns
    -------
    array or list of arrays
        ``"predict"``: shape (n_samples,) or (n_samples, n_tasks), as the estimator gives it. ``"predict_proba"``: shape
        (n_samples, n_classes) for 1-D `y`, else a list with one such array per task. Columns are the sorted classes
        of the whole `y`; a class that a fold's training rows lack has probability 0 in that fold. Its logarithm is the
        smallest number of its type, as in scikit-learn. A `MultiTaskEstimator` gives a dict of its tasks.

    Raises
    ------
    ValueError
        If `method` is unknown, X and y differ in length, or `cv` does not test each row exactly once.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from skmtl.model_selection import cross_val_predict
    >>> X, y = np.zeros((4, 1)), np.array([1.0, 2.0, 3.0, 4.0])
    >>> folds = [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    >>> cross_val_predict(DummyRegressor(), X, y, cv=folds)
    array([3.5, 3.5, 1.5, 1.5])
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}. Found {method!r}.")
    check_same_length(X, y)
    splitter = as_splitter(cv)
    fit_params, split_params = _routed(estimator, splitter, params or {})
    splits = list(splitter.split(X, y, **split_params))
    _check_partition([test for _, test in splits], _num_samples(X))
    answers = Parallel(n_jobs=n_jobs)(
        delayed(_answer)(estimator, X, y, train, test, method, fit_params) for train, test in splits
    )
    tests = [test for _, test in splits]
    if method == "predict":
        return _join_labels([labels for labels, _ in answers], tests)
    if isinstance(answers[0][0], dict):
        return _join_by_name(answers, tests)
    return _join_probabilities(answers, tests, read_targets(y), logarithms=method == "predict_log_proba")


def _routed(estimator, splitter, params: dict) -> tuple[dict, dict]:
    """Return the parameters of fit and those of the splitter."""
    if not get_config()["enable_metadata_routing"]:
        return with_groups(estimator, params)
    router = MetadataRouter(owner="cross_val_predict")
    router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
    router.add(estimator=estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
    routed = process_routing(router, "fit", **params)
    return routed.estimator.fit, routed.splitter.split


def _answer(estimator, X, y, train, test, method: str, params: dict):
    """Return a fold's answer, and the classes its model knows."""
    model = fit_rows(estimator, X, y, train, params)
    answer = getattr(model, method)(take_rows(X, test))
    return answer, (None if method == "predict" else model.classes_)


def _check_partition(tests: list, n_samples: int) -> None:
    times = np.bincount(np.concatenate(tests), minlength=n_samples)
    if len(times) > n_samples or (times != 1).any():
        raise ValueError(
            "cross_val_predict only works for partitions: every row must be tested exactly once. "
            f"Found {int((times == 0).sum())} rows never tested and {int((times > 1).sum())} tested more than once."
        )


def _join_labels(labels: list, tests: list) -> np.ndarray:
    """Return the folds' labels in the order of the rows; as objects where numpy would turn one into another."""
    folds = [np.asarray(fold) for fold in labels]
    if folds[0].dtype.names:
        return records({name: _join_labels([fold[name] for fold in folds], tests) for name in folds[0].dtype.names})
    dtype = common_dtype([fold.ravel() for fold in folds])
    columns = [objects_of(fold) if dtype.kind == "O" else fold.astype(dtype) for fold in folds]
    return np.concatenate(columns)[np.argsort(np.concatenate(tests))]


def _join_probabilities(answers: list, tests: list, table: TargetTable, logarithms: bool):
    """Return one array per task whose columns are the classes of the whole y."""
    joined = []
    for t in range(table.n_columns):
        classes = sorted_classes(table.columns[t][table.observed[:, t]])
        column = {label: c for c, label in enumerate(objects_of(classes))}
        dtype = np.asarray(_of_task(answers[0][0], t)).dtype
        proba = np.full((len(table), len(column)), np.finfo(dtype).min if logarithms else 0.0, dtype=dtype)
        for (fold_proba, fold_classes), test in zip(answers, tests, strict=True):
            known = [column[label] for label in objects_of(np.asarray(_of_task(fold_classes, t)))]
            proba[np.ix_(test, known)] = _of_task(fold_proba, t)
        joined.append(proba)
    return joined if table.ndim == 2 else joined[0]


def _join_by_name(answers: list, tests: list) -> dict:
    """Return the probabilities of each task of a `MultiTaskEstimator`, by name."""
    order, joined = np.argsort(np.concatenate(tests)), {}
    for name, first in answers[0][0].items():
        entries = [proba[name] for proba, _ in answers]
        classes = [of_fold.get(name) for _, of_fold in answers]
        if isinstance(first, list):  # levels of a hierarchy
            levels = range(len(first))
            joined[name] = [_join_classes([e[k] for e in entries], [c[k] for c in classes])[order] for k in levels]
        else:
            joined[name] = _join_classes(entries, classes)[order]
    return joined


def _join_classes(entries: list[np.ndarray], classes: list) -> np.ndarray:
    """Return folds one after the other, with a column for each class that any of them knows."""
    if classes[0] is None:
        return np.concatenate(entries)
    known = [objects_of(np.asarray(of_fold)).tolist() for of_fold in classes]
    if any(of_fold != known[0] for of_fold in known):
        every = objects_of(sorted_classes(np.concatenate([np.asarray(of_fold) for of_fold in classes]))).tolist()
        wide = [np.zeros((len(entry), len(every))) for entry in entries]
        for entry, own, of_fold in zip(wide, entries, known, strict=True):
            entry[:, [every.index(label) for label in of_fold]] = own
        entries = wide
    return np.concatenate(entries)


def _of_task(values, t: int):
    return values[t] if isinstance(values, (list, tuple)) else values
