"""The public surface, in one place: what docs/api lists, what is documented, and what keeps its name."""

import inspect
from collections.abc import Iterator
from importlib import import_module

PUBLIC = {
    "skmtl": ["MultiTaskClassifier", "MultiTaskRegressor"],
    "skmtl.datasets": ["load_census", "load_energy", "make_related_classification", "make_related_regression"],
    "skmtl.losses": ["Logistic", "Loss", "Softmax", "SquaredError"],
    "skmtl.metrics": ["UndefinedTaskWarning", "make_task_scorer", "task_scores"],
    "skmtl.model_selection": [
        "HalvingStackedSearchCV",
        "MultiTaskKFold",
        "StackedGridSearchCV",
        "StackedRandomizedSearchCV",
        "cross_val_predict",
        "sharing_path",
        "transfer_gain",
    ],
    "skmtl.sharing": [
        "AttentionSharing",
        "DenseStack",
        "HardSharing",
        "IndependentSharing",
        "Sharing",
        "SharingModule",
        "SoftSharing",
        "StackedModule",
        "TrunkShape",
    ],
    "skmtl.weighting": ["EqualWeighting", "UncertaintyWeighting", "Weighting", "WeightingState"],
}

NAMES = [f"{module}.{name}" for module, names in PUBLIC.items() for name in names]


def resolve(qualified_name: str):
    """Return the public object of that name."""
    module, _, name = qualified_name.rpartition(".")
    return getattr(import_module(module), name)


def own_methods(cls: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties that skmtl, not a base library, wrote."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and getattr(function, "__module__", "").startswith("skmtl"):
            yield name, member
