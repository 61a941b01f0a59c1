"""The pages: code fits its column, the API reference lists what is public, and nothing comes from another site."""

import importlib.util
import inspect
import re
import zlib
from pathlib import Path

import pytest

from tests._public import NAMES, PUBLIC, resolve

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COLUMN = 80
WRITTEN = [path for path in DOCS.rglob("*.rst") if not {"_build", "generated", "gallery"} & set(path.parts)]
PAGES = sorted([*WRITTEN, ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _load(name: str):
    """Import a module that lies beside conf.py."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _code_lines(text: str) -> list[str]:
    """Return the lines of literal blocks, doctests and fenced blocks, without their indentation."""
    lines, fence, block = [], False, None  # block: the indentation that a literal block must exceed
    for line in text.splitlines():
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        if bare.startswith("```"):
            fence = not fence
        elif bare and block is not None and indent <= block:
            block = None
        if fence or block is not None or re.match(r"(>>>|\.\.\.)( |$)", bare):
            lines.append(line[indent:] if block is None else line[min(block + 3, indent) :])
        if re.match(r"\.\. (code-block|literalinclude)::", bare) or (bare.endswith("::") and not bare.startswith("..")):
            block = indent
    return lines


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_on_pages_fits_its_column(path):
    lines = _code_lines(path.read_text(encoding="utf-8"))
    assert [line for line in lines if len(line) > COLUMN] == []


def test_code_lines_are_found():
    page = "Text.\n\n>>> one\n\n.. code-block:: python\n\n    two\n\nText::\n\n    three\n\n```python\nfour\n```\nText."
    assert [line.strip(" >`") for line in _code_lines(page) if line.strip()] == [
        "one",
        "two",
        "three",
        "python",
        "four",
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit_their_column(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > COLUMN] == []


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_docstrings_fit_their_column(name):
    lines = _code_lines(inspect.getdoc(resolve(name)))
    assert [line for line in lines if len(line) > COLUMN] == []


def test_the_guide_has_pages_and_the_gallery_examples():
    assert len(WRITTEN) > 15
    assert len(EXAMPLES) >= 9


def test_api_reference_lists_exactly_the_public_names():
    api = _load("_api")
    pages = {module: api.page(module, PUBLIC[module]) for module in api.order()}
    listed = [f"{module}.{name}" for module, page in pages.items() for name in re.findall(r"^   (\w+)$", page, re.M)]
    assert sorted(listed) == sorted(NAMES)


def test_api_index_leads_to_every_public_module():
    index = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    assert re.findall(r"^   generated/([\w.]+)$", index, re.M) == _load("_api").order()


def test_inventories_hold_names_that_the_installed_packages_have(tmp_path):
    inventories = _load("_inventories")
    mapping = inventories.write_inventories(tmp_path)
    site, path = mapping["sklearn"]
    lines = zlib.decompress(Path(path).read_bytes().split(b"zlib.\n")[1]).decode().splitlines()
    name = "sklearn.pipeline.Pipeline"
    assert f"{name} py:class 1 modules/generated/{name}.html#{name} -" in lines
    assert site.startswith("https://scikit-learn.org/")
    with pytest.raises(AttributeError):
        inventories._imported("sklearn.base.NoSuchThing")


def test_formulas_are_set_by_a_file_of_the_site():
    conf, hooks = [(DOCS / name).read_text(encoding="utf-8") for name in ("conf.py", "_hooks.py")]
    assert "mathjax_path = _hooks.MATHJAX" in conf
    assert re.search(r'^MATHJAX = "mathjax/[\w-]+\.js"', hooks, re.M)


@pytest.mark.parametrize(
    ("page", "asked"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ('<link rel="stylesheet" href="//fonts.example/b.css" />', ["//fonts.example/b.css"]),
        ('<img alt="c" src="http://x.example/c.png">', ["http://x.example/c.png"]),
        ("<style>@import url(https://d.example/d.css);</style>", ["https://d.example/d.css"]),
        ('<a href="https://scikit-learn.org">a link is no load</a><script src="_static/e.js"></script>', []),
        ('<link rel="canonical" href="https://f.example/">', []),
    ],
)
def test_what_a_page_asks_of_other_sites_is_found(page, asked):
    pytest.importorskip("sphinx")
    assert _load("_hooks").foreign_sources(page) == asked


def test_the_changelog_becomes_a_page():
    pytest.importorskip("sphinx")
    page = _load("_hooks").changelog_page("# Changes\n\n## [1.0]\n\n- `fit`, see [here](https://x.example/a).\n")
    assert page == "Changes\n=======\n\n1.0\n-----\n\n- `fit`, see `here <https://x.example/a>`__."
