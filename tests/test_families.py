"""Every member of a family is found, works everywhere, and whoever is forgotten is named."""

import inspect
import pickle
import pickletools
import pkgutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_param_validation

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._families import members
from skmtl.losses import LOSSES, Loss
from skmtl.model_selection import HalvingStackedSearchCV, StackedGridSearchCV, StackedRandomizedSearchCV
from skmtl.sharing import STRATEGIES, Sharing, TrunkShape
from skmtl.tasks import Regression, classification_layout, regression_layout
from skmtl.weighting import WEIGHTINGS, Weighting
from tests import _asserts as laws
from tests import _task_cases as task_cases
from tests._cases import KINDS, N_CLASSES, make_estimator, make_table
from tests._public import NAMES, resolve

FAMILIES = {"sharing": (Sharing, STRATEGIES), "weighting": (Weighting, WEIGHTINGS), "losses": (Loss, LOSSES)}
every_family = pytest.mark.parametrize("package", FAMILIES)
MEMBERS = [pytest.param(p, name, id=f"{p} {name}") for p, (_, table) in FAMILIES.items() for name in table]

FITTED = [
    name
    for name in NAMES
    if inspect.isclass(resolve(name)) and issubclass(resolve(name), BaseEstimator) and hasattr(resolve(name), "fit")
]


# ---- nobody is forgotten --------------------------------------------------------------------------------------------


OPTIONS = [
    pytest.param(table[name], option, value, id=f"{name} {option}={value}")
    for table in (STRATEGIES, WEIGHTINGS)
    for name in table
    for option in table[name]().get_params()
    for value in ("nonsense", -1)
]


@pytest.mark.parametrize(("cls", "option", "value"), OPTIONS)
def test_an_option_that_makes_no_sense_is_refused_by_name(cls, option, value):
    member = cls(**{option: value})
    with pytest.raises((ValueError, TypeError), match=option):
        member.build(TrunkShape(3, 5, (8,))) if isinstance(member, Sharing) else member.start(1, 3)


@every_family
def test_every_class_in_a_file_is_in_the_table(package):
    base, table = FAMILIES[package]
    home = import_module(f"skmtl.{package}")
    forgotten = []
    for module in pkgutil.iter_modules(home.__path__):
        for cls in vars(import_module(f"{home.__name__}.{module.name}")).values():
            if inspect.isclass(cls) and issubclass(cls, base) and not inspect.isabstract(cls):
                forgotten += [] if cls in table.values() else [f"{cls.__name__} in {package}/{module.name}.py"]
    assert forgotten == [], "Import it in the package's __init__, as `from ... import Name as Name`."


@pytest.mark.parametrize(("package", "name"), MEMBERS)
def test_a_member_is_exported_under_the_packages_path(package, name):
    cls, home = FAMILIES[package][1][name], f"skmtl.{package}"
    assert cls.name == name
    assert cls.__module__ == home
    assert cls.__name__ in import_module(home).__all__
    assert getattr(import_module(home), cls.__name__) is cls


@pytest.mark.parametrize(("package", "name"), MEMBERS)
def test_a_member_has_an_example_and_a_first_line(package, name):
    doc = inspect.getdoc(FAMILIES[package][1][name])
    assert doc.splitlines()[0].endswith(".")
    assert package == "losses" or ">>>" in doc


@pytest.mark.parametrize("estimator", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.parametrize(("package", "parameter"), [("sharing", "sharing"), ("weighting", "weighting")])
def test_estimators_take_every_name_and_say_where_names_are(estimator, package, parameter):
    base, table = FAMILIES[package]
    options, cls = estimator._parameter_constraints[parameter]
    assert options.options == set(table)
    assert cls is base
    doc = inspect.getdoc(estimator)
    where = {"sharing": "`skmtl.sharing.STRATEGIES`", "weighting": "`skmtl.weighting.WEIGHTINGS`"}[package]
    assert where in doc


def test_a_class_without_a_name_is_named(monkeypatch):
    class Nameless(Weighting):
        def start(self, n_members, n_tasks):
            raise NotImplementedError

    monkeypatch.setattr(import_module("skmtl.weighting"), "Nameless", Nameless, raising=False)
    with pytest.raises(TypeError, match="Nameless of skmtl.weighting must have a class attribute `name`"):
        members(Weighting, "skmtl.weighting")
    Nameless.name = "equal"
    with pytest.raises(TypeError, match=r"Nameless and EqualWeighting of skmtl\.weighting have the same name"):
        members(Weighting, "skmtl.weighting")


@pytest.mark.parametrize("name", [name for name in FITTED if name != "skmtl.TaskView"])  # which is no copy when cloned
@pytest.mark.filterwarnings("ignore")  # the check warns about data of its own
def test_every_parameter_is_validated(name):
    """scikit-learn's check: every parameter has an entry in `_parameter_constraints`, and `fit` reads it."""
    cls = resolve(name)
    names = inspect.signature(cls).parameters
    chosen = {"param_grid": {"lr": [0.01]}, "param_distributions": {"lr": [0.01]}, "estimator": MultiTaskRegressor()}
    check_param_validation(cls.__name__, cls(**{key: value for key, value in chosen.items() if key in names}))


def test_every_loss_of_a_layout_is_of_the_family():
    """Estimators learn with losses that the laws of losses were run over."""
    layouts = [regression_layout(3), *(classification_layout(counts) for counts in N_CLASSES.values())]
    used = {type(group.loss) for layout in layouts for group in layout.groups}
    assert used <= set(LOSSES.values())


# ---- searches and files, over every member --------------------------------------------------------------------------


def assert_stacked_search_is_a_plain_one(estimator, X, y):
    grid = {"lr": [0.003, 0.01, 0.03]}
    ours, theirs = (
        search(estimator, grid, cv=KFold(3), scoring="r2", refit=False).fit(X, y)
        for search in (StackedGridSearchCV, GridSearchCV)
    )
    laws.assert_same_scores(ours.cv_results_, theirs.cv_results_)


@pytest.mark.parametrize("sharing", STRATEGIES)
def test_a_stacked_search_over_every_strategy(sharing):
    X, y = make_table("regression", missing=0.0)
    assert_stacked_search_is_a_plain_one(make_estimator(sharing=sharing, dropout=0.1), X, y)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_stacked_search_over_every_weighting(weighting):
    X, y = make_table("regression", missing=0.0)
    stops = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12, "validation_fraction": 0.2}
    assert_stacked_search_is_a_plain_one(make_estimator(weighting=weighting, **stops), X, y)


@pytest.mark.parametrize("sharing", STRATEGIES)
def test_transform_to_pandas_over_every_strategy(sharing):
    X, y = make_table("regression")
    model = make_estimator(sharing=sharing).fit(X, y).set_output(transform="pandas")
    frame = model.transform(X)
    assert list(frame.columns) == list(model.get_feature_names_out())
    model.set_output(transform="default")
    np.testing.assert_array_equal(frame.to_numpy(), model.transform(X))


def private_paths(file):
    """Return the private modules of skmtl that a pickle names."""
    strings = {argument for _, argument, _ in pickletools.genops(file) if isinstance(argument, str)}
    modules = {text.replace("\n", " ").split(" ")[0] for text in strings}
    return sorted(module for module in modules if module.startswith("skmtl.") and "._" in module)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sharing", STRATEGIES)
def test_a_fitted_estimator_in_a_file_names_no_private_module(sharing, kind, protocol):
    X, y = make_table(kind)
    model = make_estimator(kind, STRATEGIES[sharing](), weighting=WEIGHTINGS["uncertainty"](), n_members=2).fit(X, y)
    file = pickle.dumps(model, protocol)
    assert private_paths(file) == []
    laws.assert_same_outputs(model, pickle.loads(file), X)


@pytest.mark.parametrize("name", task_cases.OPTIONS)
def test_a_fitted_task_in_a_file_names_no_private_module(name):
    assert private_paths(pickle.dumps(task_cases.fit(name))) == []


def test_a_task_that_was_added_names_no_private_module_either():
    X, y = make_table("multiclass")
    model = make_estimator("multiclass", "attention").fit(X, y).add_task(X, y[:, 1], "new")
    assert private_paths(pickle.dumps(model)) == []
    stacked = task_cases.fit("regression", table=(X, y[:, :2], {"t": Regression(features=[0, 1]), "o": "regression"}))
    assert private_paths(pickle.dumps(stacked)) == []


@pytest.mark.parametrize("search", [StackedGridSearchCV, StackedRandomizedSearchCV, HalvingStackedSearchCV])
def test_a_fitted_search_in_a_file_names_no_private_module(search):
    X, y = make_table("regression", missing=0.0)
    options = {} if search is StackedGridSearchCV else {"random_state": 0}
    options |= {"n_iter": 2} if search is StackedRandomizedSearchCV else {}
    fitted = search(make_estimator(), {"lr": [0.01, 0.02]}, cv=2, **options).fit(X, y)
    assert private_paths(pickle.dumps(fitted)) == []


def test_a_scorer_and_a_splitter_in_a_file_name_no_private_module():
    things = [skmtl.metrics.make_task_scorer("r2"), skmtl.model_selection.MultiTaskKFold(3)]
    assert private_paths(pickle.dumps(things)) == []


# ---- the strategy of the gallery ------------------------------------------------------------------------------------


def gallery_strategy():
    """Return the class that the example defines, without running the rest of it."""
    path = Path(__file__).parents[1] / "examples" / "0040_own_sharing_strategy.py"
    names = {"__name__": "gallery"}
    exec(compile(path.read_text(encoding="utf-8").partition("# %%\n# Use it")[0], str(path), "exec"), names)
    return names["Adapters"]


def test_the_gallerys_strategy_honours_dropout_and_transforms_to_pandas():
    X, y = make_table("multiclass")
    cls = gallery_strategy()
    models = [make_estimator("multiclass", cls(3), dropout=share).fit(X, y) for share in (0.0, 0.5)]
    assert not np.allclose(models[0].predict_proba(X)[0], models[1].predict_proba(X)[0])
    frame = models[0].set_output(transform="pandas").transform(X)
    assert list(frame.columns) == list(models[0].get_feature_names_out())
    assert frame.shape == (len(X), 8)


def test_the_gallerys_strategy_trains_in_stacks():
    X, y = make_table("regression", missing=0.0)
    assert_stacked_search_is_a_plain_one(make_estimator(sharing=gallery_strategy()(3), dropout=0.1), X, y)
