"""Tasks over several columns of y that are given one after the other."""

from __future__ import annotations

from typing import Any

from skmtl.tasks._base import Task


class TaskOfLevels(Task):
    """A task whose columns are the first arguments of its constructor; `levels` holds them."""

    levels: tuple[str, ...]

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return ["levels", "features"]

    def __sklearn_clone__(self) -> Any:
        options = {name: value for name, value in self.get_params(deep=False).items() if name != "levels"}
        return type(self)(*self.levels, **options)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        options = {name: value for name, value in self.get_params(deep=False).items() if name != "levels"}
        plain = type(self)(*self.levels).get_params(deep=False)
        shown = [*map(repr, self.levels), *(f"{name}={v!r}" for name, v in options.items() if v is not plain[name])]
        return f"{type(self).__name__}({', '.join(shown)})"

    def claims(self, key: str) -> list[str]:
        if len(self.levels) < 2:
            raise ValueError(f"{type(self).__name__} needs at least two columns of y. Found {list(self.levels)}.")
        return [str(level) for level in self.levels]

    def output_names(self, key: str) -> list[str]:
        return self.claims(key)

    def is_continuous(self) -> list[bool]:
        return [False] * len(self.levels)
