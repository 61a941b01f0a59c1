"""What a package shows of its private files: public module paths, and the members of a family by name.

A family is a base class with one file per member: sharing strategies, weightings, losses. A new member is its file and
one import in the package's ``__init__``; whoever needs all members reads them from the family's table.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from types import FunctionType
from typing import Any


def members(base: type, package: str) -> dict[str, Any]:
    """Return the concrete classes of a family that a package imports, by their `name`.

    Raises
    ------
    TypeError
        If a class has no `name`, or the name of another.
    """
    found: dict[str, Any] = {}
    for cls in vars(sys.modules[package]).values():
        if not (inspect.isclass(cls) and issubclass(cls, base)) or inspect.isabstract(cls):
            continue
        name = vars(cls).get("name")
        if not isinstance(name, str):
            raise TypeError(f"{cls.__name__} of {package} must have a class attribute `name`, a string.")
        if found.setdefault(name, cls) is not cls:
            raise TypeError(f"{cls.__name__} and {found[name].__name__} of {package} have the same name, {name!r}.")
    return found


def class_names(classes: Iterable[type]) -> list[str]:
    """Return the names of classes, sorted."""
    return sorted(cls.__name__ for cls in classes)


def publish(package: str) -> None:
    """Give classes and functions that a package imports from its private files the package's own module path.

    So ``HardSharing.__module__`` is "skmtl.sharing", and a pickle can be read after its file has moved.
    """
    for value in vars(sys.modules[package]).values():
        if isinstance(value, (type, FunctionType)) and value.__module__.startswith(f"{package}._"):
            value.__module__ = package
