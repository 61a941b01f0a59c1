"""The public surface, taken from each package's ``__all__``: what docs/api lists, is documented and keeps its name."""

import inspect
from collections.abc import Iterator
from importlib import import_module

PACKAGES = [
    "skmtl",
    "skmtl.calibration",
    "skmtl.datasets",
    "skmtl.encoders",
    "skmtl.losses",
    "skmtl.metrics",
    "skmtl.model_selection",
    "skmtl.preprocessing",
    "skmtl.sharing",
    "skmtl.tasks",
    "skmtl.weighting",
]

DETAILS = ["skmtl.training"]
"""Packages that users do not import from."""

PUBLIC = {package: sorted(import_module(package).__all__) for package in PACKAGES}
NAMES = [
    f"{package}.{name}"
    for package, names in PUBLIC.items()
    for name in names
    if callable(getattr(import_module(package), name))  # tables of families are described with them
]


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
