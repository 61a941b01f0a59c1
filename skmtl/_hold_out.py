"""Which rows a fit holds out: a stratified part drawn at random, but none that training cannot do without."""

from __future__ import annotations

import numpy as np

from skmtl._groups import assign_groups
from skmtl._stratify import assign_parts


def hold_out(codes: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return which rows are held out, (n_samples,).

    The rows are divided into as many stratified parts of that size as there can be, and one of them is drawn: so each
    row is as likely to be held out as any other, those of rare classes too. A class or a task whose labels all are in
    that part would be lost to training; rows of it stay in training, and others are held out in their stead.

    Parameters
    ----------
    codes : int array of shape (n_samples, n_tasks)
        Class of each label, numbered from 0 in each task; -1 where it is missing.
    fraction : float
        Share of the rows to hold out, in (0, 1).
    seed : int
        Of the draw.
    groups : int array of shape (n_samples,) or None
        Rows of one group are held out together; the part is then as large as groups allow. Groups that alone have a
        class or a task stay in training, and the others are divided.

    Returns
    -------
    bool array of shape (n_samples,)
        True for the rows held out; none is, or all are, where the rows are too few or no group can be spared.
    """
    if groups is not None:
        return _hold_out_groups(codes, fraction, seed, groups)
    rng, n = np.random.RandomState(seed), len(codes)
    size = min(max(round(fraction * n), 1), n - 1)
    if size < 1:
        return np.zeros(n, dtype=bool)
    n_parts = n // size
    held_out = assign_parts(codes, np.ones(n_parts), rng) == rng.randint(n_parts)
    held_out[rng.permutation(np.flatnonzero(held_out))[size:]] = False  # parts are larger where no number of them fits
    labels = _numbered(codes)
    moved = _give_back(labels, held_out, np.arange(n))
    _replace(labels, held_out, moved, rng)
    return held_out


def _hold_out_groups(codes: np.ndarray, fraction: float, seed: int, groups: np.ndarray) -> np.ndarray:
    """Return which rows are held out, whole groups of them, (n_samples,)."""
    rng, n, labels = np.random.RandomState(seed), len(codes), _numbered(codes)
    rows = np.flatnonzero(~_needed(labels, groups))
    held_out = np.zeros(n, dtype=bool)
    if not len(rows) or n < 2:
        return held_out
    size = min(max(round(fraction * n), 1), n - 1)
    n_parts, rest = divmod(len(rows), size)
    sizes = [size] * n_parts + [rest] * (rest > 0)
    own = np.unique(groups[rows], return_inverse=True)[1]
    n_groups = int(own.max()) + 1
    if n_groups < len(sizes):  # some parts would be empty
        n_parts, sizes = n_groups, [1] * n_groups
    held_out[rows] = assign_groups(codes[rows], own, sizes, rng) == rng.randint(max(n_parts, 1))
    _give_back(labels, held_out, groups)
    return held_out


def _needed(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return which rows are of a group that alone has a label, (n_samples,)."""
    n_labels = int(labels.max(initial=0)) + 1
    group, label = np.divmod(np.unique(groups[:, None] * n_labels + labels), n_labels)
    alone = np.bincount(label, minlength=n_labels) == 1
    return np.isin(groups, group[alone[label] & (label > 0)])


def _numbered(codes: np.ndarray) -> np.ndarray:
    """Return the labels numbered across tasks, from 1; 0 where they are missing: (n_samples, n_tasks)."""
    n_classes = codes.max(axis=0, initial=-1) + 1
    return np.where(codes < 0, 0, codes + 1 + np.cumsum(n_classes) - n_classes)


def _give_back(labels: np.ndarray, held_out: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Let training have a row of every label, with all of its group; return the rows that are not held out any more."""
    before = held_out.copy()
    n_labels = int(labels.max(initial=0)) + 1
    counts = np.bincount(labels[~held_out].ravel(), minlength=n_labels)
    counts[0] += 1  # nothing is lost where a label is missing
    for row in np.flatnonzero(held_out & (counts[labels] == 0).any(axis=1)):
        if held_out[row] and (counts[labels[row]] == 0).any():
            own = held_out & (groups == groups[row])
            held_out[own] = False
            counts += np.bincount(labels[own].ravel(), minlength=n_labels)
    return np.flatnonzero(before & ~held_out)


def _replace(labels: np.ndarray, held_out: np.ndarray, moved: np.ndarray, rng: np.random.RandomState) -> None:
    """Hold out as many other rows that training can do without, where there are so many."""
    if not len(moved):
        return
    counts = np.bincount(labels[~held_out].ravel(), minlength=int(labels.max(initial=0)) + 1)
    counts[0] = labels.size + 1  # nothing is lost where a label is missing
    candidates = rng.permutation(np.flatnonzero(~held_out))
    left = len(moved)
    for row in candidates[np.argsort(np.isin(candidates, moved), kind="stable")]:
        if left and (counts[labels[row]] > 1).all():
            held_out[row] = True
            np.subtract.at(counts, labels[row], 1)
            left -= 1
