"""Every private name of scikit-learn that this package imports: what an upgrade of it may break.

The searches also override or call private methods of its `BaseSearchCV`, which no import shows: ``_get_scorers``,
``_get_routed_params_for_fit``, ``_check_refit_for_multimetric``, ``_select_best_index``, ``_format_results``,
``_parameter_constraints``; and two attributes of its scorer of several metrics, which only `scorers_by_name` and
`copy_scorers` read.
"""

from sklearn.base import _fit_context
from sklearn.metrics._scorer import _MultimetricScorer, _PassthroughScorer, _Scorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _insert_error_scores, _score, _warn_or_raise_about_fit_failures
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples

__all__ = [
    "BaseSearchCV",
    "Interval",
    "StrOptions",
    "_MultimetricScorer",
    "_PassthroughScorer",
    "_Scorer",
    "_check_method_params",
    "_fit_context",
    "_insert_error_scores",
    "_num_samples",
    "_safe_indexing",
    "_safe_split",
    "_score",
    "_warn_or_raise_about_fit_failures",
    "copy_scorers",
    "scorers_by_name",
]


def scorers_by_name(scorer) -> dict | None:
    """Return the scorers that scikit-learn's scorer of several metrics consists of; None for any other scorer."""
    return scorer._scorers if isinstance(scorer, _MultimetricScorer) else None


def copy_scorers(scorer: _MultimetricScorer) -> dict:
    """Return the arguments that make an equal scorer of several metrics."""
    return {"scorers": scorer._scorers, "raise_exc": scorer._raise_exc}
