"""Write the inventories by which pages link to other packages' documentation, from what is installed.

Intersphinx usually downloads a package's `objects.inv`. That ties a build to the network, so the inventories are
written here instead: the names come from the installed packages, the addresses follow each site's own pattern.
"""

import inspect
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

# package: site, then modules whose public names have a page each, and the pattern of those pages
SITES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "pandas": "https://pandas.pydata.org/docs/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "joblib": "https://joblib.readthedocs.io/en/stable/",
}
SKLEARN = [
    "compose",
    "datasets",
    "ensemble",
    "feature_selection",
    "impute",
    "inspection",
    "linear_model",
    "metrics",
    "model_selection",
    "multioutput",
    "neural_network",
    "pipeline",
    "preprocessing",
]
MODULES = {
    "sklearn": [(f"sklearn.{module}", "modules/generated/{name}.html#{name}") for module in SKLEARN],
    "torch": [
        ("torch.optim", "generated/{name}.html#{name}"),
        ("torch.optim.lr_scheduler", "generated/{name}.html#{name}"),
    ],
    "skorch": [("skorch.callbacks", "callbacks.html#{name}")],
}
NAMES = {
    "python": [
        ("pathlib.Path", "library/pathlib.html#{name}"),
        ("pickle.dumps", "library/pickle.html#{name}"),
        ("pickle.loads", "library/pickle.html#{name}"),
        ("itertools.pairwise", "library/itertools.html#{name}"),
        ("warnings.filterwarnings", "library/warnings.html#{name}"),
        *[
            (name, "library/exceptions.html#{name}")
            for name in ("ImportError", "KeyboardInterrupt", "RuntimeError", "TypeError", "ValueError")
        ],
    ],
    "numpy": [
        *[
            (f"numpy.{name}", "reference/generated/{name}.html#{name}")
            for name in ("abs", "arange", "array", "clip", "empty", "isnan", "ndarray", "quantile", "round", "stack")
        ],
        ("numpy.random.Generator", "reference/random/generator.html#{name}"),
        ("numpy.random.default_rng", "reference/random/generator.html#{name}"),
        ("numpy.random.RandomState", "reference/random/legacy.html#{name}"),
    ],
    "sklearn": [
        (f"sklearn.base.{name}", "modules/generated/{name}.html#{name}")
        for name in ("BaseEstimator", "ClassifierMixin", "RegressorMixin", "TransformerMixin", "clone")
    ],
    "scipy": [
        (f"scipy.{name}", "reference/generated/{name}.html#{name}")
        for name in ("sparse.csr_array", "stats.loguniform", "stats.spearmanr", "stats.uniform")
    ],
    "pandas": [(f"pandas.{name}", "reference/api/{name}.html#{name}") for name in ("DataFrame", "Series", "isna")],
    "torch": [
        *[(f"torch.nn.{n}", "generated/{name}.html#{name}") for n in ("Module", "ModuleList", "Linear", "Dropout")],
        *[(f"torch.{n}", "generated/{name}.html#{name}") for n in ("einsum", "full", "no_grad", "set_num_threads")],
        ("torch.Tensor", "tensors.html#{name}"),
    ],
    "skorch": [("skorch.net.NeuralNet", "net.html#{name}")],
    "matplotlib": [
        ("matplotlib.pyplot.subplots", "api/_as_gen/{name}.html#{name}"),
        ("matplotlib.axes.Axes", "api/_as_gen/{name}.html#{name}"),
    ],
    "joblib": [(f"joblib.{n}", "generated/{name}.html#{name}") for n in ("Memory", "dump", "load", "parallel_config")],
}


def write_inventories(folder: Path) -> dict[str, tuple[str, str]]:
    """Write one inventory per package; return what `intersphinx_mapping` wants."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for package, site in SITES.items():
        path = folder / f"{package}.inv"
        head = f"# Sphinx inventory version 2\n# Project: {package}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        lines = "".join(f"{name} py:{role} 1 {page} -\n" for name, role, page in _entries(package))
        path.write_bytes(head.encode() + zlib.compress(lines.encode()))
        mapping[package] = (site, str(path))
    return mapping


def _entries(package: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, kind and page of each documented object, those of a class's methods included."""
    for module, page in MODULES.get(package, []):
        room = import_module(module)  # in scikit-learn, __all__ holds experimental names that are not there yet
        for name in sorted(set(room.__all__) & set(vars(room))):
            yield from _entry(f"{module}.{name}", getattr(room, name), page)
    for name, page in NAMES.get(package, []):
        yield from _entry(name, _imported(name), page)


def _entry(name: str, obj: object, page: str) -> Iterator[tuple[str, str, str]]:
    role = "class" if inspect.isclass(obj) else "function" if callable(obj) else "data"
    yield name, role, page.format(name=name)
    if inspect.isclass(obj) and name.startswith("sklearn."):
        for method, _ in inspect.getmembers(obj, inspect.isfunction):
            if not method.startswith("_"):
                yield f"{name}.{method}", "method", f"{page.format(name=name)}.{method}"


def _imported(name: str) -> object:
    """Import the object; an unknown name raises, so that no link leads to what does not exist."""
    module, _, short = name.rpartition(".")
    return getattr(import_module(module or "builtins"), short)
