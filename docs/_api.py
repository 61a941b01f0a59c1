"""Write the pages of the API reference, a page per sub-package, from the list of public names.

What is public is collected in `tests/_public.py`, from the packages themselves; what a family holds is in its own table
(`STRATEGIES`, `WEIGHTINGS`). So a new strategy appears in the reference without a line here.
"""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tests._public import PUBLIC

# sub-package: title, introduction
SECTIONS = {
    "skmtl": ("Estimators", "One network for several targets, behind `fit` and `predict`."),
    "skmtl.preprocessing": (
        "Tables",
        "Tables as people have them, encoded for a network: missing values, categories, dates, heavy tails.",
    ),
    "skmtl.model_selection": (
        "Model selection",
        "Searches, folds and comparisons for several tasks and missing labels. See :doc:`/user_guide/scoring`.",
    ),
    "skmtl.encoders": (
        "Encoders",
        "What turns images, texts and ids into features: pass one of these objects as ``encoder=``, or a dict of them. "
        "See :doc:`/user_guide/encoders`.",
    ),
    "skmtl.sharing": (
        "Sharing strategies",
        'How tasks share parameters: pass a name, such as ``sharing="soft"``, or one of these objects. See '
        ":doc:`/user_guide/sharing`.",
    ),
    "skmtl.tasks": (
        "Tasks",
        "What `MultiTaskEstimator` can learn: pass an object, or where the defaults will do its name, such as "
        '``{"dose": "regression"}``. Those that read several columns have to be objects. See :doc:`/user_guide/tasks`.',
    ),
    "skmtl.losses": (
        "Losses",
        "What the parts of a task are learned by. For tasks of your own: estimators take no loss. See "
        ":doc:`/user_guide/extending`.",
    ),
    "skmtl.weighting": (
        "Weightings",
        'How the losses of the tasks become one update: pass a name, such as ``weighting="uncertainty"``, or one of '
        "these objects.",
    ),
    "skmtl.calibration": (
        "Calibration",
        "Probabilities, intervals and sets that hold on rows like those they were calibrated on. See "
        ":doc:`/user_guide/uncertainty`.",
    ),
    "skmtl.metrics": ("Metrics", "Scores per task that skip missing labels. See :doc:`/user_guide/scoring`."),
    "skmtl.datasets": (
        "Data sets",
        "Two small real data sets, and generators of tasks whose relation is known.",
    ),
}
TABLES = {
    "skmtl.encoders": "ENCODERS",
    "skmtl.sharing": "STRATEGIES",
    "skmtl.tasks": "TASKS",
    "skmtl.losses": "LOSSES",
    "skmtl.weighting": "WEIGHTINGS",
}
GROUPS = ["", "To write your own", "Functions"]


def write_pages(folder: Path) -> None:
    """Write the page of every sub-package that has public names; leave those alone that are as they should be."""
    folder.mkdir(parents=True, exist_ok=True)
    for module, names in PUBLIC.items():
        path, text = folder / f"{module}.rst", page(module, names)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def order() -> list[str]:
    """Return the sub-packages with public names, in the order of the reference."""
    unknown = sorted(set(PUBLIC) - set(SECTIONS))
    if unknown:
        raise ValueError(f"docs/_api.py: SECTIONS must introduce every public module. Found none for {unknown}.")
    return [module for module in SECTIONS if module in PUBLIC]


def page(module: str, names: list[str]) -> str:
    """Return the page of a sub-package as reStructuredText."""
    title, introduction = SECTIONS[module]
    rule = "=" * len(title)
    blocks = [f"{rule}\n{title}\n{rule}\n\n{introduction}\n\n.. module:: {module}\n", *_names(module)]
    for group, template, members in _grouped(module, names):
        options = f"   :toctree: .\n   :template: {template}\n\n"
        heading = f".. rubric:: {group}\n\n" if group else ""  # no section: the sidebar lists names, not groups
        blocks.append(heading + ".. autosummary::\n" + options + "".join(f"   {name}\n" for name in members))
    return "\n".join(blocks)


def _names(module: str) -> list[str]:
    """Return a table of the names that estimators take for the classes of a family, if it is one."""
    if module not in TABLES or module == "skmtl.losses":
        return []
    rows = getattr(import_module(module), TABLES[module]).items()
    table = "".join(f'   * - ``"{name}"``\n     - `{cls.__name__}`\n' for name, cls in sorted(rows))
    return [f".. list-table::\n   :header-rows: 1\n   :widths: auto\n\n   * - name\n     - class\n{table}"]


def _grouped(module: str, names: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield heading, template and names of each group of a sub-package."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if callable(getattr(import_module(module), name)):  # the tables of families are shown as such
            found.setdefault(_group(module, name), []).append(name)
    is_alone = len({group for group, _ in found}) == 1
    for group, template in sorted(found, key=lambda key: (GROUPS.index(key[0]), key[1])):
        yield ("" if is_alone else group), template, found[group, template]


def _group(module: str, name: str) -> tuple[str, str]:
    room = import_module(module)
    obj = getattr(room, name)
    if not inspect.isclass(obj):
        return "Functions", "function.rst"
    if module == "skmtl":
        return "", "estimator.rst"
    if name.endswith("SearchCV"):
        return "", "search.rst"
    table = getattr(room, TABLES.get(module, ""), None)
    is_extension = table is not None and obj not in table.values()
    return ("To write your own" if is_extension else ""), "class.rst"
