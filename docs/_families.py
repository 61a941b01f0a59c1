"""Sphinx extension: the members of a family, read from the package's own table.

``.. family:: skmtl.sharing.STRATEGIES`` writes a table with the name, the class and the first docstring line of each
member. On the API page every class has a page too. A new member needs no line in the documentation.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

from sphinx.ext.autosummary.generate import generate_autosummary_docs
from sphinx.util.docutils import SphinxDirective

API = "api/index"  # the page whose classes have pages
DIRECTIVE = re.compile(r"^\.\. family:: (\S+)$", re.MULTILINE)


def members(table):
    """Return the classes of a family by name; `table` is the qualified name of its table."""
    package, _, name = table.rpartition(".")
    return getattr(import_module(package), name)


def path_of(cls):
    """Return the qualified name of a class."""
    return f"{cls.__module__}.{cls.__name__}"


class Family(SphinxDirective):
    """A table of the members of a family."""

    required_arguments = 1

    def run(self):
        """Return the table, and on the API page the links to the members' pages for the sidebar."""
        classes = members(self.arguments[0])
        lines = [".. list-table::", "   :header-rows: 1", "", "   * - name", "     - class", "     -"]
        for name, cls in sorted(classes.items()):
            summary = inspect.getdoc(cls).splitlines()[0]
            lines += [f'   * - ``"{name}"``', f"     - :class:`~{path_of(cls)}`", f"     - {summary}"]
        if self.env.docname == API:
            pages = sorted(map(path_of, classes.values()))
            lines += ["", ".. toctree::", "   :hidden:", "", *(f"   generated/{page}" for page in pages)]
        return self.parse_text_to_nodes("\n".join([*lines, ""]))


def write_pages(app):
    """Write a page for each member, as autosummary does for the classes that a page lists."""
    page = Path(app.srcdir, f"{API}.rst")
    classes = [cls for table in DIRECTIVE.findall(page.read_text("utf-8")) for cls in members(table).values()]
    listing = page.parent / "generated" / "families.txt"
    listing.parent.mkdir(exist_ok=True)
    lines = [
        ".. autosummary::",
        "   :toctree: .",
        "   :template: class.rst",
        "",
        *(f"   {path_of(c)}" for c in classes),
    ]
    listing.write_text("\n".join([*lines, ""]), "utf-8")
    generate_autosummary_docs([str(listing)], suffix=".rst", app=app)


def setup(app):
    """Register the directive; pages are written before Sphinx looks for documents."""
    app.add_directive("family", Family)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
