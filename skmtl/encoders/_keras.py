"""Any Keras model as an encoder: Keras 3, on its torch backend."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._seeding import own_generator
from skmtl.encoders._called import CalledEncoder

N_SEEDS = 2**31 - 1
REMEDY = "Set the environment variable KERAS_BACKEND=torch before keras is first imported, and start Python anew."


class KerasEncoder(CalledEncoder):
    """A Keras model of your own, from what a row of X holds to features. Needs Keras 3 with its torch backend.

    Parameters
    ----------
    make_model : callable
        A function that returns a new Keras model; importable, so that fits can be pickled.
    params : dict, default=None
        What it is called with. A search reaches keywords of the function by their names, as ``encoder__width``.
    freeze : bool, default=False
        Whether the weights stay as they were built, as those of a pretrained model may.
    lr : float, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.

    Notes
    -----
    Install it by ``pip install "skmtl[keras]"``, and set the environment variable ``KERAS_BACKEND=torch`` before keras
    is first imported.

    The model takes (batch, \\*shape), with shape that of a row of X, and returns (batch, width). Whole numbers in X
    arrive as int64. Keras on torch multiplies in float32, also with ``dtype="float64"``. The model is trained by the
    estimator: `compile` and `fit` of Keras, its optimizers and callbacks have no part in it. Regularizers and
    constraints of Keras are refused.

    `random_state` decides the initial weights and what layers such as Dropout and GaussianNoise draw in training; seeds
    that are given to these layers are not used. A layer of your own must hold a ``keras.random.SeedGenerator``, for
    what it draws without one cannot be repeated.

    Models may not keep statistics of batches, as BatchNormalization does: use GroupNormalization or LayerNormalization.

    Examples
    --------
    >>> from skmtl.encoders import KerasEncoder
    >>> def make_model(width=32):
    ...     import keras
    ...
    ...     layers = [keras.layers.Flatten(), keras.layers.Dense(width)]
    ...     return keras.Sequential(layers)
    >>> encoder = KerasEncoder(make_model, {"width": 16})
    """

    name = "keras"
    holds = "make_model"

    def __init__(
        self,
        make_model: Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        freeze: bool = False,
        lr: float | None = None,
    ) -> None:
        self.make_model = make_model
        self.params = params
        self.freeze = freeze
        self.lr = lr

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return a module that runs the model."""
        if not callable(self.make_model):
            raise TypeError(
                f"KerasEncoder: make_model must be a function that returns a Keras model, and not a model itself. "
                f"Found {type(self.make_model).__name__}."
            )
        keras = _import_keras()
        if isinstance(self.make_model, keras.layers.Layer):
            raise TypeError(
                f"KerasEncoder: make_model must be a function that returns a Keras model, and not a model itself. "
                f"Found {type(self.make_model).__name__}."
            )
        self._importable()
        seed = int(torch.randint(N_SEEDS, ()))
        model = _make(self._call, shape, seed)
        _refuse(keras, model)
        return _KerasModule(self._call, shape, model)


class _KerasModule(nn.Module):
    """A Keras model whose weights lie in this module: by position, for names differ between models of a function.

    Keras keeps layers in lists that torch does not see, and `torch.func.functional_call` on its models silently uses
    their own weights. Here Keras' variables are given the tensors of this module before each pass.
    """

    def __init__(self, make: Callable[[], Any], shape: tuple[int, ...], model: Any) -> None:
        super().__init__()
        self._make, self._shape = make, shape
        self._model = [model]  # in a list, or torch would register the model's own parameters
        self._weights = list(model.weights)
        known = {id(variable) for variable in self._weights}
        self._seeds = [v for v in model.variables if id(v) not in known and v.name == "seed_generator_state"]
        self._names = [f"{k}_{variable.name}" for k, variable in enumerate(self._weights)]
        self._dtypes = [variable.value.dtype for variable in self._weights]
        for name, variable in zip(self._names, self._weights, strict=True):
            value = variable.value.detach()
            if variable.trainable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        keras = _import_keras()
        values = [getattr(self, name) for name in self._names]
        for variable, value, dtype in zip(self._weights, values, self._dtypes, strict=True):
            variable._value = value.to(dtype)
        with keras.device(str(x.device)):
            if self.training and self._seeds:
                self._draw_seeds()
            features = self._model[0](x, training=self.training)
        precision = next((v.dtype for v in [*values, x] if v.is_floating_point()), torch.float32)
        return features.to(precision) if isinstance(features, Tensor) and features.is_floating_point() else features

    def _draw_seeds(self) -> None:
        """Have random layers draw what torch's global generator says, and not from states of their own."""
        for state, seed in zip(self._seeds, torch.randint(N_SEEDS, (len(self._seeds),)).tolist(), strict=True):
            state.assign([seed, 0])

    def __reduce__(self) -> tuple[Any, ...]:
        tensors = [getattr(self, name) for name in self._names]
        return _restored, (self._make, self._shape, tensors, self.training)


def _restored(make: Callable[[], Any], shape: tuple[int, ...], tensors: list[Tensor], training: bool) -> nn.Module:
    """Return a module with these weights, around a new model."""
    module = _KerasModule(make, shape, _make(make, shape, seed=0))
    for name, value in zip(module._names, tensors, strict=True):
        setattr(module, name, value)
    return module.train(training)


def _import_keras() -> ModuleType:
    """Return keras, if it runs on torch."""
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "keras":
            raise ImportError('KerasEncoder needs Keras 3. Install it by: pip install "skmtl[keras]"') from error
        raise ImportError(f"KerasEncoder needs Keras on its torch backend. {REMEDY} Found: {error}") from error
    if keras.config.backend() != "torch":
        raise RuntimeError(
            f"KerasEncoder needs Keras on its torch backend. {REMEDY} Found backend {keras.config.backend()!r}."
        )
    return keras


def _make(make: Callable[[], Any], shape: tuple[int, ...], seed: int) -> Any:
    """Return a new model on the CPU, with all of its weights: those of some models begin to exist in a pass."""
    keras = _import_keras()
    with _drawing_from(seed), keras.device("cpu"), torch.inference_mode(False):
        model = make()
        if not isinstance(model, keras.layers.Layer):
            raise TypeError(f"KerasEncoder: make_model must return a Keras model. Found {type(model).__name__}.")
        row = torch.zeros((1, *shape))
        try:
            with torch.no_grad():
                model(row, training=False)
        except Exception as error:
            raise ValueError(
                f"KerasEncoder failed on a row of shape {shape}: {type(error).__name__}: {error}"
            ) from error
    return model


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Seed what initial weights are drawn from, and leave it as it was: Keras draws seeds from Python's generator."""
    with own_generator():
        before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)  # noqa: NPY002


def _refuse(keras: ModuleType, model: Any) -> None:
    """Refuse what Keras' own `fit` would do and a step of the estimator does not, and what a copy would lose."""
    if model.losses:
        raise ValueError(
            "KerasEncoder: the model must not have regularizers or losses of its own, for they are not trained. "
            f"Found {len(model.losses)}. Drop them, and use weight_decay of the estimator."
        )
    constrained = [v.path for v in model.weights if v.constraint is not None]
    if constrained:
        raise ValueError(f"KerasEncoder: weights must not have constraints. Found them on {constrained[:5]}.")
    layers = model._flatten_layers()
    wrapped = [layer.name for layer in layers if isinstance(layer, keras.layers.TorchModuleWrapper)]
    if wrapped:
        raise ValueError(f"KerasEncoder: the model must not hold torch modules. Found {wrapped[:5]}: use TorchEncoder.")
