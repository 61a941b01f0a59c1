"""Scores per task, computed from the observed labels."""

from skmtl._families import publish
from skmtl.metrics._named import METRICS as METRICS
from skmtl.metrics._scorer import TaskScorer as TaskScorer
from skmtl.metrics._scorer import UndefinedTaskWarning, make_task_scorer
from skmtl.metrics._survival import concordance_index, integrated_brier_score
from skmtl.metrics._task_scores import task_scores

__all__ = [
    "UndefinedTaskWarning",
    "concordance_index",
    "integrated_brier_score",
    "make_task_scorer",
    "task_scores",
]

publish(__name__)
