"""Parameters that hold objects by name, which are reached as ``tasks__dose__loss``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ObjectsByName:
    """Let `get_params` and `set_params` reach the objects of a dict, and their parameters in turn.

    `_objects` names the parameters that hold such dicts, and the table of what strings in them stand for.
    """

    _objects: Mapping[str, Mapping[str, type]]

    def get_params(self, deep=True):
        """Get parameters, also those of objects in dicts.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of objects, too.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep)
        if deep:
            for parameter, table in self._objects.items():
                for name, value in _items(params[parameter]):
                    params[f"{parameter}__{name}"] = value
                    own = _as_object(value, table)
                    if hasattr(own, "get_params"):
                        params |= {f"{parameter}__{name}__{key}": v for key, v in own.get_params().items()}
        return params

    def set_params(self, **params):
        """Set parameters, also those of objects in dicts.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : object
            The estimator.
        """
        whole = {key: value for key, value in params.items() if "__" not in key}
        super().set_params(**whole)  # a dict that is given with what is in it comes first
        inner = {key: value for key, value in params.items() if self._is_dict(key.partition("__")[0]) and "__" in key}
        super().set_params(**{key: value for key, value in params.items() if key not in whole and key not in inner})
        for key, value in sorted(inner.items(), key=lambda item: item[0].count("__")):  # objects before what is in them
            self._set(key, value)
        return self

    def _is_dict(self, parameter: str) -> bool:
        return parameter in self._objects and isinstance(getattr(self, parameter), Mapping)

    def _set(self, key: str, value: Any) -> None:
        parameter, _, path = key.partition("__")
        name, _, option = path.partition("__")
        objects = dict(_items(getattr(self, parameter)))
        if name not in objects:
            raise ValueError(
                f"Invalid parameter {key!r} for estimator {type(self).__name__}: {parameter} has no {name!r}. Found "
                f"{list(objects)}."
            )
        if option:
            own = _as_object(objects[name], self._objects[parameter])
            value = own.set_params(**{option: value})
        setattr(self, parameter, {**objects, name: value})


def _items(objects: Any) -> list[tuple[Any, Any]]:
    return list(objects.items()) if isinstance(objects, Mapping) else []


def _as_object(value: Any, table: Mapping[str, type]) -> Any:
    """Return what a string stands for, where its class has defaults for everything."""
    if not (isinstance(value, str) and value in table):
        return value
    try:
        return table[value]()
    except TypeError:
        return value
