"""Splitters, searches and comparisons that know several tasks and missing labels."""

from skmtl._families import publish
from skmtl.model_selection._halving import HalvingStackedSearchCV
from skmtl.model_selection._path import sharing_path
from skmtl.model_selection._predict import cross_val_predict
from skmtl.model_selection._ranking import best_mean_rank
from skmtl.model_selection._search import StackedGridSearchCV, StackedRandomizedSearchCV
from skmtl.model_selection._space import search_space
from skmtl.model_selection._splitter import MultiTaskKFold
from skmtl.model_selection._transfer import transfer_gain

__all__ = [
    "HalvingStackedSearchCV",
    "MultiTaskKFold",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "best_mean_rank",
    "cross_val_predict",
    "search_space",
    "sharing_path",
    "transfer_gain",
]

publish(__name__)
