r"""Generators of tasks with a known relation.

The labels of a task are computed by its teacher, a function linear in features :math:`\phi(x)` with coefficients
:math:`w_t = \sqrt{\rho}\, c_{k(t)} + \sqrt{1-\rho}\, v_t`: a term common to the task's cluster, and a term of the task.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state


def make_related_regression(
    n_samples=200,
    n_features=10,
    n_tasks=4,
    *,
    relatedness=0.8,
    n_clusters=1,
    nonlinear=True,
    n_components=100,
    noise=0.1,
    missing=0.0,
    return_teacher=False,
    random_state=None,
):
    r"""Make regression tasks whose teachers have a given correlation.

    Inputs are standard normal. Task :math:`t` of cluster :math:`k(t)` is

    .. math::
        y_t = \tfrac{1}{\sqrt{m}}\, \phi(x)^\top w_t + \text{noise} \cdot \varepsilon_t, \qquad
        w_t = \sqrt{\rho}\, c_{k(t)} + \sqrt{1 - \rho}\, v_t,

    with :math:`\varepsilon_t` and all entries of :math:`c_k, v_t \in \mathbb{R}^m` standard normal and :math:`\rho` the
    relatedness. So the coefficients of two tasks have correlation :math:`\rho` within a cluster and 0 across clusters,
    and the signal of each task has second moment 1 in expectation.

    Parameters
    ----------
    n_samples : int, default=200
        Number of rows.
    n_features : int, default=10
        Number of features.
    n_tasks : int, default=4
        Number of tasks.
    relatedness : float, default=0.8
        :math:`\rho`, in [0, 1]. 0: tasks have nothing in common; 1: the tasks of a cluster are one task with different
        noise.
    n_clusters : int, default=1
        Number of clusters; task t belongs to cluster `t % n_clusters`.
    nonlinear : bool, default=True
        Whether :math:`\phi` is nonlinear: :math:`\phi_j(x) = \sqrt{2} \cos(a_j^\top x + b_j)` with
        :math:`a_j \sim N(0, I / d)` for d features and :math:`b_j` uniform on :math:`[0, 2\pi)`. Otherwise
        :math:`\phi(x) = x`.
    n_components : int, default=100
        Number m of cosines. Without effect if `nonlinear=False`, where m is `n_features`.
    noise : float, default=0.1
        Standard deviation of the noise.
    missing : float or array-like of shape (n_tasks,), default=0.0
        Share of labels that are NaN in each task, in [0, 1). In task t, `round(missing * n_samples)` rows drawn at
        random lose their label; each task keeps at least one.
    return_teacher : bool, default=False
        Whether to return the teacher as well: what the labels were made from.
    random_state : int, RandomState instance or None, default=None
        Source of all random numbers. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The inputs.
    y : ndarray of shape (n_samples, n_tasks)
        The labels; NaN where missing.
    teacher : Bunch
        Only if `return_teacher=True`: `relation`, shape (n_tasks, n_tasks), the correlation with which coefficients are
        drawn; `clusters`, int of shape (n_tasks,); `coef`, shape (m, n_tasks), with columns :math:`w_t`; and `signal`,
        shape (n_samples, n_tasks), the labels without noise.

    Raises
    ------
    ValueError
        If a size is not a positive integer, `relatedness` or `missing` is out of range, or `noise` is negative.

    See Also
    --------
    make_related_classification : The same for classes.

    Notes
    -----
    With many cosines the teachers are samples of a Gaussian process with covariance, between task s at x and task t at
    x', :math:`R_{st} \exp(-\|x - x'\|^2 / 2d)`, where R is the `relation` of the teacher [1]_ [2]_.

    References
    ----------
    .. [1] A. Rahimi and B. Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007.
    .. [2] E. V. Bonilla, K. M. A. Chai and C. K. I. Williams, "Multi-task Gaussian Process Prediction", NIPS 2007.

    Examples
    --------
    >>> from skmtl.datasets import make_related_regression
    >>> X, y, teacher = make_related_regression(
    ...     n_tasks=3, missing=0.25, return_teacher=True, random_state=0
    ... )
    >>> X.shape, y.shape
    ((200, 10), (200, 3))
    >>> teacher.relation
    array([[1. , 0.8, 0.8],
           [0.8, 1. , 0.8],
           [0.8, 0.8, 1. ]])
    """
    _check_sizes(n_samples=n_samples, n_features=n_features, n_tasks=n_tasks, n_clusters=n_clusters)
    _check_at_least_zero("noise", noise)
    rng = check_random_state(random_state)
    X, phi = _draw_inputs(rng, n_samples, n_features, n_components if nonlinear else None)
    coef, clusters = _draw_coef(rng, (phi.shape[1], n_tasks), relatedness, n_clusters)
    signal = phi @ coef / np.sqrt(phi.shape[1])
    y = signal + noise * rng.standard_normal(signal.shape)
    y[_draw_missing(rng, missing, y.shape)] = np.nan
    if not return_teacher:
        return X, y
    return X, y, Bunch(relation=_relation(clusters, relatedness), clusters=clusters, coef=coef, signal=signal)


def make_related_classification(
    n_samples=200,
    n_features=10,
    n_tasks=4,
    *,
    n_classes=2,
    relatedness=0.8,
    n_clusters=1,
    nonlinear=True,
    n_components=100,
    noise=0.05,
    missing=0.0,
    return_teacher=False,
    random_state=None,
):
    r"""Make classification tasks whose teachers have a given correlation.

    Inputs are standard normal. The label of task :math:`t` of cluster :math:`k(t)` is the class of the largest signal,

    .. math::
        y_t = \arg\max_c\; \tfrac{1}{\sqrt{m}}\, \phi(x)^\top w_{tc}, \qquad
        w_{tc} = \sqrt{\rho}\, c_{k(t),c} + \sqrt{1 - \rho}\, v_{tc},

    and then a share `noise` of the labels is replaced by classes drawn at random. All entries of :math:`c` and
    :math:`v` are standard normal, so the coefficients of class c have correlation :math:`\rho` between two tasks of one
    cluster. Tasks may have different numbers of classes: a task with fewer classes lacks the last ones.

    Parameters
    ----------
    n_samples : int, default=200
        Number of rows.
    n_features : int, default=10
        Number of features.
    n_tasks : int, default=4
        Number of tasks.
    n_classes : int or array-like of shape (n_tasks,), default=2
        Number of classes, at least 2: one number for all tasks, or one per task.
    relatedness : float, default=0.8
        :math:`\rho`, in [0, 1]. 0: tasks have nothing in common; 1: tasks of a cluster with equally many classes are
        one task with different noise.
    n_clusters : int, default=1
        Number of clusters; task t belongs to cluster `t % n_clusters`.
    nonlinear : bool, default=True
        Whether :math:`\phi` is nonlinear: :math:`\phi_j(x) = \sqrt{2} \cos(a_j^\top x + b_j)` with
        :math:`a_j \sim N(0, I / d)` for d features and :math:`b_j` uniform on :math:`[0, 2\pi)`. Otherwise
        :math:`\phi(x) = x`.
    n_components : int, default=100
        Number m of cosines. Without effect if `nonlinear=False`, where m is `n_features`.
    noise : float, default=0.05
        Probability, in [0, 1], that a label is replaced by a class of the task drawn at random (which may be the same).
    missing : float or array-like of shape (n_tasks,), default=0.0
        Share of labels that are NaN in each task, in [0, 1). In task t, `round(missing * n_samples)` rows drawn at
        random lose their label; each task keeps at least one.
    return_teacher : bool, default=False
        Whether to return the teacher as well: what the labels were made from.
    random_state : int, RandomState instance or None, default=None
        Source of all random numbers. Pass an int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The inputs.
    y : ndarray of shape (n_samples, n_tasks)
        The labels 0, 1, ...: int if none is missing, else float with NaN where missing.
    teacher : Bunch
        Only if `return_teacher=True`: `relation`, shape (n_tasks, n_tasks), the correlation with which coefficients are
        drawn; `clusters`, int of shape (n_tasks,); `coef`, a list with an array of shape (m, n_classes_t) for each
        task t; and `signal`, int of shape (n_samples, n_tasks), the labels before noise.

    Raises
    ------
    ValueError
        If a size is not a positive integer, a task has less than two classes, or `relatedness`, `noise` or `missing` is
        out of range.

    See Also
    --------
    make_related_regression : The same for numbers.

    Examples
    --------
    >>> from skmtl.datasets import make_related_classification
    >>> X, y = make_related_classification(
    ...     n_tasks=3, n_classes=[2, 3, 4], random_state=0
    ... )
    >>> y.max(axis=0)
    array([1, 2, 3])
    """
    _check_sizes(n_samples=n_samples, n_features=n_features, n_tasks=n_tasks, n_clusters=n_clusters)
    _check_share("noise", noise)
    classes = _per_task("n_classes", n_classes, n_tasks)
    _check_classes(classes)
    rng = check_random_state(random_state)
    X, phi = _draw_inputs(rng, n_samples, n_features, n_components if nonlinear else None)
    stacked, clusters = _draw_coef(rng, (phi.shape[1], n_tasks, max(classes)), relatedness, n_clusters)
    coef = [stacked[:, t, :c] for t, c in enumerate(classes)]
    signal = np.stack([(phi @ w).argmax(axis=1) for w in coef], axis=1)
    replaced = rng.random_sample(signal.shape) < noise
    y = np.where(replaced, (rng.random_sample(signal.shape) * classes).astype(np.int64), signal)
    gone = _draw_missing(rng, missing, y.shape)
    y = np.where(gone, np.nan, y) if gone.any() else y
    if not return_teacher:
        return X, y
    return X, y, Bunch(relation=_relation(clusters, relatedness), clusters=clusters, coef=coef, signal=signal)


def _draw_inputs(
    rng: np.random.RandomState, n_samples: int, n_features: int, n_components: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return X and phi(X), which is X itself or, if `n_components` is given, that many cosines."""
    X = rng.standard_normal((n_samples, n_features))
    if n_components is None:
        return X, X
    _check_sizes(n_components=n_components)
    directions = rng.standard_normal((n_features, n_components)) / np.sqrt(n_features)
    phases = rng.uniform(0, 2 * np.pi, n_components)
    return X, np.sqrt(2) * np.cos(X @ directions + phases)


def _draw_coef(
    rng: np.random.RandomState, shape: tuple[int, ...], relatedness: float, n_clusters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients of shape (component, task, ...) and the cluster of each task."""
    _check_share("relatedness", relatedness)
    clusters = np.arange(shape[1]) % n_clusters
    common = rng.standard_normal((shape[0], n_clusters, *shape[2:]))[:, clusters]
    specific = rng.standard_normal(shape)
    return np.sqrt(relatedness) * common + np.sqrt(1 - relatedness) * specific, clusters


def _relation(clusters: np.ndarray, relatedness: float) -> np.ndarray:
    """Return the correlation of the tasks' coefficients, shape (n_tasks, n_tasks)."""
    relation = relatedness * (clusters[:, None] == clusters[None, :])
    np.fill_diagonal(relation, 1.0)
    return relation


def _draw_missing(rng: np.random.RandomState, missing: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask that is True at the wanted number of missing labels in each task."""
    n_samples, n_tasks = shape
    shares = _per_task("missing", missing, n_tasks)
    if not ((shares >= 0) & (shares < 1)).all():
        raise ValueError(f"missing must be in [0, 1). Found {missing!r}.")
    n_missing = np.minimum(np.round(shares * n_samples), n_samples - 1)
    rank = rng.random_sample(shape).argsort(axis=0).argsort(axis=0)  # a random permutation of the rows per task
    return rank < n_missing


def _per_task(name: str, value: ArrayLike, n_tasks: int) -> np.ndarray:
    """Return one value per task, (n_tasks,)."""
    array = np.asarray(value)
    if array.shape not in ((), (n_tasks,)):
        raise ValueError(f"{name} must be one number or one for each of the {n_tasks} tasks. Found {value!r}.")
    return np.broadcast_to(array, n_tasks)


def _check_sizes(**sizes: Any) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} must be an integer of at least 1. Found {size!r}.")


def _check_classes(classes: np.ndarray) -> None:
    if classes.dtype.kind not in "iu" or classes.min() < 2:
        raise ValueError(f"n_classes must be integers of at least 2. Found {classes.tolist()!r}.")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1]. Found {value!r}.")


def _check_at_least_zero(name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0. Found {value!r}.")
