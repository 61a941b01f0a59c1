"""K folds that are stratified over several tasks at once."""

import numbers

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from skmtl._groups import assign_groups, group_codes
from skmtl._label_codes import label_codes
from skmtl._stratify import assign_parts
from skmtl._table import read_targets


class MultiTaskKFold(BaseCrossValidator):
    """K-fold cross-validation that keeps the share of every class of every task, and of missing labels.

    Where `split` is given groups, such as patients, rows of one group are in one fold.

    Give it as ``cv`` wherever scikit-learn takes a splitter. `StratifiedKFold` knows one target only, and an integer
    ``cv`` refuses a classifier's `y` with missing labels.

    Columns of numbers are stratified by their quantiles, all others by their classes. Numbers are columns with a
    fraction in them, as scikit-learn's ``type_of_target`` has it, and whole numbers most of which differ from one
    another (more than half as many different values as labels).

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Whether ties are broken at random; False breaks them by the order of the rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling. With None every call of `split` differs.
    n_bins : int, default=5
        Quantile bins of a column of numbers.

    Raises
    ------
    ValueError
        If `n_splits` or `n_bins` is too small, or `random_state` is given without shuffling.

    Notes
    -----
    Rows are dealt by iterative stratification [1]_, which explains how the shares are balanced. Fold sizes differ by
    at most one row (with two folds sometimes by more, so that each class of two or more rows is in the first fold). A
    class with at least `n_splits` observed labels is in every fold, unless the classes of other tasks leave it no room.
    With groups, sizes and shares are as even as whole groups allow: those that hold most of a class or of the rows are
    placed first, each in the fold that lacks most of what it holds.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.model_selection import MultiTaskKFold
    >>> X = np.zeros((6, 1))
    >>> letters, words = list("aaabbb"), ["u", None, "v", "u", "v", None]
    >>> y = np.array([letters, words], dtype=object).T
    >>> for train, test in MultiTaskKFold(3, random_state=0).split(X, y):
    ...     print(sorted(y[test, 0]), list(y[test, 1]).count(None) < 2)
    ['a', 'b'] True
    ['a', 'b'] True
    ['a', 'b'] True
    """

    __metadata_request__split = {"groups": True}  # where metadata is routed: given to `split` if there are any

    def __init__(self, n_splits=5, *, shuffle=True, random_state=None, n_bins=5):
        _check_whole("n_splits", n_splits, 2)
        _check_whole("n_bins", n_bins, 1)
        if random_state is not None and not shuffle:
            raise ValueError("random_state has no effect without shuffling. Set shuffle=True or random_state=None.")
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.n_bins = n_bins

    def split(self, X, y=None, groups=None):
        """Yield the row numbers of each training and test set.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its length is used.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Targets; NaN, None and NA are missing.
        groups : array-like of shape (n_samples,), default=None
            Group of each row; rows of one group are in one fold.

        Returns
        -------
        iterator of (train, test)
            Pairs of int arrays.

        Raises
        ------
        ValueError
            If `y` is None, has fewer rows than `n_splits`, or there are fewer groups than that.
        """
        if y is None:
            raise ValueError(
                "MultiTaskKFold stratifies by the targets: y must be given. Found None. Otherwise use KFold."
            )
        return super().split(X, y, groups)

    def _iter_test_indices(self, X=None, y=None, groups=None):
        part = self._parts(y, groups)
        for fold in range(self.n_splits):
            yield np.flatnonzero(part == fold)

    def _parts(self, y, groups) -> np.ndarray:
        table = read_targets(y)
        if len(table) < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number of samples: "
                f"n_samples={len(table)}. Use fewer splits."
            )
        rng = check_random_state(self.random_state) if self.shuffle else None
        codes, sizes = label_codes(table.columns, table.observed, self.n_bins), np.ones(self.n_splits)
        if groups is None:
            return assign_parts(codes, sizes, rng)
        groups = group_codes(groups, len(table))
        if groups.max() + 1 < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number of groups: "
                f"{groups.max() + 1}. Use fewer splits."
            )
        return assign_groups(codes, groups, sizes, rng)

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X : object, default=None
            Ignored.
        y : object, default=None
            Ignored.
        groups : object, default=None
            Ignored.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits


def _check_whole(name: str, value, least: int) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}. Found {value!r}.")
