"""Classes of several levels, from coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._labels import common_dtype, object_array, objects_of
from skmtl._table import TargetTable
from skmtl.losses import TreeSoftmax
from skmtl.metrics._skill import brier_skill, mean_skill
from skmtl.tasks._base import Part, any_observed, array_of
from skmtl.tasks._classification import outcomes
from skmtl.tasks._codec import sorted_classes
from skmtl.tasks._levels import TaskOfLevels


class Hierarchy(TaskOfLevels):
    """Classes of several levels, from coarse to fine, such as topic and subtopic.

    The probability of a coarse class is the sum of its finer ones', so that predictions of the levels never contradict
    each other. Rows that are labelled only coarsely teach the fine level what they can.

    Parameters
    ----------
    *levels : str
        Columns of y, the coarsest first.
    tree : dict or list of dict, default=None
        The class above each class, ``{"hockey": "sport", ...}``; a list has one such dict for each level but the first,
        where labels of several levels are equal. None: learned from rows with labels at both levels.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Attributes
    ----------
    classes_ : list of arrays
        Sorted classes of each level.

    Notes
    -----
    A row teaches its finest label, by the cross entropy over the leaves of the tree [1]_ [2]_. `predict` goes from the
    most likely coarse class to the most likely one below it. A class without finer ones is followed by missing labels.
    The skill is the mean over levels of the Brier skill.

    References
    ----------
    .. [1] J. Deng et al., "Large-Scale Object Classification Using Label Relation Graphs", ECCV 2014.
    .. [2] L. Bertinetto et al., "Making Better Mistakes: Leveraging Class Hierarchies with Deep Networks", CVPR 2020.

    Examples
    --------
    >>> from skmtl.tasks import Hierarchy
    >>> Hierarchy("topic", "subtopic")
    Hierarchy('topic', 'subtopic')
    """

    name = "hierarchy"

    def __init__(self, *levels: Any, tree: Any = None, features: Any = None) -> None:
        self.levels = levels
        self.tree = tree
        self.features = features

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return ["levels", "tree", "features"]

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return any_observed(y)

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        labels = [objects_of(column) for column in y.columns]
        parents = self._given_parents() if self.tree is not None else [{} for _ in self.levels[1:]]
        for level, parent in enumerate(parents):
            both = y.observed[:, level] & y.observed[:, level + 1]
            for fine, coarse in dict.fromkeys(zip(labels[level + 1][both], labels[level][both], strict=True)):
                if parent.setdefault(fine, coarse) != coarse:
                    raise ValueError(
                        f"{self.levels[level + 1]} {fine!r} must be below one {self.levels[level]}. Found it below "
                        f"{parent[fine]!r} and {coarse!r}."
                    )
        self._grow(y, labels, parents)

    def _given_parents(self) -> list[dict[Any, Any]]:
        trees = [self.tree] * (len(self.levels) - 1) if isinstance(self.tree, Mapping) else list(self.tree)
        if len(trees) != len(self.levels) - 1:
            raise ValueError(f"tree must hold {len(self.levels) - 1} dicts, one for each level below the first.")
        if not isinstance(self.tree, Mapping) or len(self.levels) == 2:
            return [dict(tree) for tree in trees]
        depths = {fine: self._depth(fine) for fine in self.tree}  # one dict for all levels
        return [
            {fine: above for fine, above in self.tree.items() if depths[fine] == level}
            for level in range(1, len(self.levels))
        ]

    def _depth(self, label: object) -> int:
        """Return how many classes are above one."""
        depth = 0
        while label in self.tree and depth < len(self.levels):
            label, depth = self.tree[label], depth + 1
        return depth

    def _grow(self, y: TargetTable, labels: list[np.ndarray], parents: list[dict[Any, Any]]) -> None:
        """Find all classes, the leaves and the leaves below each class."""
        levels = []
        for level, column in enumerate(labels):
            found = set(column[y.observed[:, level]].tolist())
            found |= set(parents[level - 1]) if level > 0 else set()
            found |= set(parents[level].values()) if level < len(parents) else set()
            levels.append(found)
        for level, parent in enumerate(parents):
            orphans = [label for label in levels[level + 1] if label not in parent]
            if orphans:
                raise ValueError(
                    f"{self.levels[level + 1]} {orphans[0]!r} is in no row that has a {self.levels[level]}, too. Give "
                    f"such a row, or tree={{{orphans[0]!r}: its {self.levels[level]}}}."
                )
        if not all(levels):
            raise ValueError(
                f"every level needs a label. Found none of {self.levels[[not s for s in levels].index(True)]!r}."
            )
        self.classes_ = [sorted_classes(_column(found)) for found in levels]
        paths = []  # of each leaf: its class at every level, None below its last
        for level in reversed(range(len(levels))):
            inner = set(parents[level].values()) if level < len(parents) else set()
            for label in objects_of(self.classes_[level]).tolist():
                if label not in inner:
                    path = [label]
                    for parent in reversed(parents[:level]):
                        path.insert(0, parent[path[0]])
                    paths.append((*path, *[None] * (len(levels) - level - 1)))
        self.paths_ = paths
        self.nodes_ = [
            {label: [k for k, path in enumerate(paths) if path[level] == label] for label in objects_of(c).tolist()}
            for level, c in enumerate(self.classes_)
        ]

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(self._loss(), self._numbers(y)[:, None])]

    def _loss(self) -> TreeSoftmax:
        return TreeSoftmax([[leaves for level in self.nodes_ for leaves in level.values()]])

    def _numbers(self, y: TargetTable) -> np.ndarray:
        """Return the number of the finest class of each row, levels counted one after the other; NaN where none is."""
        numbers, first = np.full(len(y), np.nan), 0
        for level, (column, nodes) in enumerate(zip(y.columns, self.nodes_, strict=True)):
            seen, labels = y.observed[:, level], objects_of(column)
            place = {label: first + k for k, label in enumerate(nodes)}
            unknown = [label for label in labels[seen] if label not in place]
            if unknown:
                raise ValueError(f"unknown {self.levels[level]} {unknown[0]!r}. Known are {list(nodes)[:10]}.")
            numbers[seen] = [place[label] for label in labels[seen]]
            first += len(nodes)
        return numbers

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        proba = self._leaf_probabilities(raw)
        alive = np.ones_like(proba, dtype=bool)
        for level in range(len(self.nodes_)):
            below = self._below(level)
            of_nodes = (proba * alive) @ below.T
            best = of_nodes.argmax(axis=1)
            ended = ~((alive[:, None] & below.astype(bool)).any(axis=(1, 2)))  # the class above has none below it
            alive &= np.where(ended[:, None], True, below.astype(bool)[best])
        leaf = alive.argmax(axis=1)
        table = np.empty((len(self.paths_), len(self.levels)), dtype=object)
        table[:] = [list(path) for path in self.paths_]
        plain = common_dtype(self.classes_)
        has_gaps = any(label is None for path in self.paths_ for label in path)
        return table[leaf] if has_gaps else table[leaf].astype(plain)

    def probabilities(self, raw: Sequence[Tensor]) -> list[np.ndarray]:
        """Return the class probabilities of each level: list of (n_samples, n_classes)."""
        proba = self._leaf_probabilities(raw)
        return [proba @ self._below(level).T for level in range(len(self.levels))]

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        skills = []
        for level, proba in enumerate(self.probabilities(raw)):
            seen = y.observed[:, level]
            own = None if weight is None else weight[seen]
            skills.append(brier_skill(*outcomes(y.columns[level][seen], self.classes_[level], proba[seen]), own))
        return mean_skill(skills)

    def _leaf_probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        return array_of(self._loss().probabilities(raw[0]))[:, :, 0]

    def _below(self, level: int) -> np.ndarray:
        """Return which leaves are below each class of a level: zeros and ones (n_classes, n_leaves)."""
        below = np.zeros((len(self.nodes_[level]), len(self.paths_)))
        for k, leaves in enumerate(self.nodes_[level].values()):
            below[k, leaves] = 1.0
        return below


def _column(labels: set[Any]) -> np.ndarray:
    """Return labels as an array of their plain type."""
    plain = np.asarray(list(labels))
    return plain if plain.ndim == 1 and set(plain.tolist()) == labels else object_array(list(labels))
