"""Scores per task that skip missing labels."""

from skmtl.metrics._named import METRICS
from skmtl.metrics._scorer import TaskScorer, UndefinedTaskWarning, make_task_scorer
from skmtl.metrics._task_scores import task_scores

__all__ = ["METRICS", "TaskScorer", "UndefinedTaskWarning", "make_task_scorer", "task_scores"]
