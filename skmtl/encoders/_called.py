"""Encoders that call a function of the user's to get a network; its keywords are parameters of the encoder."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np

from skmtl.encoders._base import WHOLE, Encoder


class CalledEncoder(Encoder):
    """An encoder that holds a function and, in `params`, what to call it with.

    Attributes
    ----------
    holds : str
        Name of the parameter that holds the function.
    params : dict or None
        Keywords of the call.
    """

    holds: str
    params: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, and the keywords of the function among them.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the keywords, too: those in `params`, and those for which the function has a default.

        Returns
        -------
        dict
            Values by name.
        """
        own: dict[str, Any] = super().get_params(deep)
        return {**self._keywords(), **own} if deep else own

    def set_params(self, **params: Any) -> Self:
        """Set parameters; keywords of the function go into `params`.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : Encoder
            This encoder.
        """
        own = super().get_params(deep=False)
        super().set_params(**{name: value for name, value in params.items() if name in own})
        keywords = {name: value for name, value in params.items() if name not in own}
        unknown = sorted(keywords.keys() - self._keywords().keys())
        if unknown:
            raise ValueError(
                f"Invalid parameter {unknown[0]!r} for {type(self).__name__}: it must be one of {sorted(own)}, or a "
                f"keyword of the function: {sorted(self._keywords())}."
            )
        if keywords:
            self.params = {**(self.params or {}), **keywords}
        return self

    def reads_ids(self, dtype: np.dtype) -> bool:
        return dtype.kind in WHOLE

    def _keywords(self) -> dict[str, Any]:
        """Return the defaults of the function, and what `params` has in their place."""
        try:
            signature = list(inspect.signature(getattr(self, self.holds)).parameters.values())
        except (TypeError, ValueError):  # no function, or one of C
            signature = []
        defaults = {p.name: p.default for p in signature if p.default is not inspect.Parameter.empty}
        return {**defaults, **(self.params if isinstance(self.params, dict) else {})}

    def _importable(self) -> str:
        """Return the name of the function; refuse one that a pickle could not name."""
        name = getattr(getattr(self, self.holds), "__qualname__", "")
        if "<lambda>" in name or "<locals>" in name:
            raise ValueError(
                f"{type(self).__name__}: {self.holds} must be importable, so that fits can be pickled. Found {name}: "
                f"define it at the top level of a file."
            )
        return str(name)

    def _call(self) -> Any:
        return getattr(self, self.holds)(**(self.params or {}))
