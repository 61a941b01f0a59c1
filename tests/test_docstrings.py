"""Every public object has a complete numpydoc docstring whose parameters and defaults are those of its signature."""

import ast
import dataclasses
import inspect
import re

import numpy as np
import pandas as pd
import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from sklearn.base import BaseEstimator

from skmtl.encoders import Encoder
from skmtl.tasks import Task
from tests._public import NAMES, PUBLIC, own_methods, resolve

# Not asked for: text below the opening quotes (scikit-learn writes it beside them), unnamed single returns, capitals
# at the start of descriptions (many begin with a name or a formula), and the sections that not every object needs.
SKIPPED_CHECKS = {"GL01", "GL03", "ES01", "SA01", "SA04", "RT02", "RT03", "RT04", "PR08"}


def _is_estimator(obj) -> bool:
    """Say whether users create it; contracts, shapes and kinds are read by those who write extensions."""
    return inspect.isclass(obj) and issubclass(obj, BaseEstimator) and not inspect.isabstract(obj)


CONTRACTS = [name for base in (Task, Encoder) for name in vars(base) if not name.startswith("_")]
CONTRACT_METHODS = {"build", "start", "probabilities", *CONTRACTS}
CLASSES = [name for name in NAMES if inspect.isclass(resolve(name))]
ESTIMATORS = [name for name in CLASSES if _is_estimator(resolve(name))]


def _problems(qualified_name: str, skipped: set[str]) -> list[str]:
    return [f"{code}: {text}" for code, text in validate(qualified_name)["errors"] if code not in skipped]


def _documented(obj) -> dict[str, str]:
    """Return the documented parameters (the fields of a dataclass) and their types."""
    section = "Attributes" if dataclasses.is_dataclass(obj) else "Parameters"
    entries = NumpyDocString(inspect.getdoc(obj))[section]
    return {name.strip().lstrip("*"): entry.type for entry in entries for name in entry.name.split(",")}


def _signature(obj) -> dict[str, inspect.Parameter]:
    if inspect.isclass(obj) and not dataclasses.is_dataclass(obj) and not _is_ours(obj.__init__):
        return {}  # an __init__ of torch, scikit-learn or Python
    return {name: p for name, p in inspect.signature(obj).parameters.items() if name != "self"}


def _is_ours(function) -> bool:
    return getattr(function, "__module__", "").startswith("skmtl")


def _documented_default(description: str):
    match = re.search(r"default=(.+)$", description)
    if match and match.group(1) == "nan":
        return np.nan
    return ast.literal_eval(match.group(1)) if match else inspect.Parameter.empty


@pytest.mark.parametrize("name", NAMES)
def test_docstring_is_complete(name):
    obj = resolve(name)
    skipped = set() if _signature(obj) and not dataclasses.is_dataclass(obj) else {"PR01"}
    if inspect.isclass(obj) and not _is_estimator(obj):
        skipped.add("EX01")
    assert _problems(name, SKIPPED_CHECKS | skipped) == []


@pytest.mark.parametrize("name", NAMES)
def test_documented_parameters_and_defaults_are_those_of_the_signature(name):
    _check_parameters(resolve(name))


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_say_what_they_do(name):
    silent = [method for method, member in own_methods(resolve(name)) if not inspect.getdoc(member)]
    assert silent == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_method_docstrings_are_complete(name):
    problems = {}
    for method, member in own_methods(resolve(name)):
        if method in CONTRACT_METHODS or method.startswith("predicted_"):
            continue  # documented in the contract
        problems[method] = _problems(f"{name}.{method}", SKIPPED_CHECKS | {"EX01"})
        if inspect.isfunction(member):
            _check_parameters(member)
    assert {method: found for method, found in problems.items() if found} == {}


@pytest.mark.parametrize("name", [name for name in PUBLIC["skmtl"] if name.startswith("MultiTask")])
def test_documented_attributes_are_those_of_a_fitted_estimator(name):
    cls = resolve(f"skmtl.{name}")
    X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    y = pd.DataFrame({"s": [0, 1, 0, 1], "t": [1, 1, 0, 0]})
    given = {"tasks": dict.fromkeys(y, "classification")} if name == "MultiTaskEstimator" else {}
    fitted = cls(**given, max_epochs=1, random_state=0).fit(X, y)
    documented = [entry.name for entry in NumpyDocString(inspect.getdoc(cls))["Attributes"]]
    assert [attribute for attribute in documented if not hasattr(fitted, attribute)] == []
    assert sorted(documented) == sorted(a for a in vars(fitted) if a.endswith("_") and not a.startswith("_"))


def _check_parameters(obj) -> None:
    parameters, documented = _signature(obj), _documented(obj)
    assert list(documented) == list(parameters)
    defaults = {parameter: _documented_default(text) for parameter, text in documented.items()}
    assert defaults == {parameter: p.default for parameter, p in parameters.items()}


OWN_WORDS = {"n_members", "warm_start", "estimator"}
"""Parameters that mean something else, or more, in one class than in another of the same family."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("skmtl.MultiTaskClassifier", "skmtl.MultiTaskRegressor"),
        ("skmtl.model_selection.StackedGridSearchCV", "skmtl.model_selection.StackedRandomizedSearchCV"),
    ],
)
def test_what_two_classes_share_is_described_alike(one, other):
    mine, theirs = (
        {entry.name: (entry.type, entry.desc) for entry in NumpyDocString(inspect.getdoc(resolve(name)))["Parameters"]}
        for name in (one, other)
    )
    shared = (mine.keys() & theirs.keys()) - OWN_WORDS
    assert len(shared) > 5
    assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}
