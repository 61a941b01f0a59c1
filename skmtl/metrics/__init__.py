"""Scores per task, computed from the observed labels."""

from skmtl._families import publish
from skmtl.metrics._named import METRICS as METRICS
from skmtl.metrics._places import dice, iou, span_f1
from skmtl.metrics._ranking import ndcg_at_k, recall_at_k
from skmtl.metrics._ranking_scorer import RankingScorer as RankingScorer
from skmtl.metrics._ranking_scorer import make_ranking_scorer
from skmtl.metrics._scorer import TaskScorer as TaskScorer
from skmtl.metrics._scorer import UndefinedTaskWarning, make_task_scorer
from skmtl.metrics._survival import concordance_index, integrated_brier_score
from skmtl.metrics._task_scores import task_scores

__all__ = [
    "UndefinedTaskWarning",
    "concordance_index",
    "dice",
    "integrated_brier_score",
    "iou",
    "make_ranking_scorer",
    "make_task_scorer",
    "ndcg_at_k",
    "recall_at_k",
    "span_f1",
    "task_scores",
]

publish(__name__)
