"""What the site needs besides Sphinx's extensions: short names as links, and MathJax from the site itself."""

import inspect
import re
import shutil
import sys
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.nodes import make_refnode

HEADINGS = {"#": "=", "##": "-", "###": "~"}  # of Markdown, and their underlines
MATHJAX = "mathjax/tex-svg-full.js"  # one file: its letters are paths, so that no font is loaded


def escape_initials(text):
    """Keep docutils from reading the initial of "R. Caruana" in a reference as the number of a list."""
    return re.sub(r"^(\s*\.\. \[[\w-]+\] [A-Z])\. ", r"\1\\. ", text, flags=re.MULTILINE)


def escape_in_docstring(app, what, name, obj, options, lines):
    """Escape the initials in a docstring."""
    lines[:] = [escape_initials(line) for line in lines]


def prepare_page(app, docname, source):
    """Escape the initials in a page; fill the changelog in."""
    if docname == "changelog":
        source[0] = changelog_page(Path(app.srcdir, "..", "CHANGELOG.md").read_text(encoding="utf-8"))
    source[0] = escape_initials(source[0])


def changelog_page(markdown):
    """Return the changelog as reStructuredText: its headings and links differ, all else is the same in both."""
    lines = []
    for line in re.sub(r"\[([^]]+)\]\((https:[^)]+)\)", r"`\1 <\2>`__", markdown).splitlines():
        level, _, title = line.partition(" ")
        lines.append(title.strip("[]") if level in HEADINGS else line)
        if level in HEADINGS:
            lines.append(HEADINGS[level] * len(title))
    return "\n".join(lines)


def resolve_short_name(app, env, node, contnode):
    """Link a bare public name, such as `sharing_path`, and show any other code in backticks as code.

    Sphinx itself resolves full names, and bare ones on the pages of their own module.
    """
    if node.get("refdomain") != "py" or node.get("reftype") != "obj":
        return None
    target = node["reftarget"]
    if target in app.skmtl_names:
        page, anchor, title = app.skmtl_names[target]
        return make_refnode(app.builder, node["refdoc"], page, anchor, contnode, title)
    if target in app.foreign_names:
        uri, title = app.foreign_names[target]
        return nodes.reference("", "", contnode, internal=False, refuri=uri, reftitle=title)
    return nodes.literal("", contnode.astext())  # without the classes that print it bold


def collect_names(app, env):
    """Map the bare names of classes and functions, ours first, to their pages; leave out those that mean two things."""
    objects = env.domains["py"].objects
    app.skmtl_names = {
        name.rpartition(".")[2]: (entry.docname, entry.node_id, name)
        for name, entry in objects.items()
        if entry.objtype in {"class", "function", "exception"}
    }
    found = {}
    for role in ("py:class", "py:function"):
        for name, item in getattr(env, "intersphinx_inventory", {}).get(role, {}).items():
            if name.startswith(("sklearn.", "skorch.")):
                found.setdefault(name.rpartition(".")[2], set()).add((item.uri, name))
    app.foreign_names = {name: next(iter(pages)) for name, pages in found.items() if len(pages) == 1}


def file_of(app, modname, attribute):
    """Return the module whose file holds an object, for the link to its source; packages show what their files hold."""
    obj = sys.modules[modname] if modname in sys.modules else import_module(modname)
    for part in attribute.split("."):
        obj = getattr(obj, part, None)
    functions = [obj, *(vars(obj).values() if inspect.isclass(obj) else ())]
    own = [f for f in map(inspect.unwrap, filter(inspect.isroutine, functions)) if hasattr(f, "__globals__")]
    return own[0].__globals__["__name__"] if own else None


def foreign_sources(page):
    """Return the addresses on other sites that a browser would load with a page (links to follow are not loaded)."""
    tags = re.findall(r"<(?:script|link|img|iframe|source|video|audio|embed)\b[^>]*>", page)
    loaded = [tag for tag in tags if not re.search(r"""rel=["']?(?:canonical|author|license)""", tag)]
    found = [match for tag in loaded for match in re.findall(r"""(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""", tag)]
    return found + re.findall(r"""url\(["']?((?:https?:)?//[^"')]+)""", page)


def refuse_foreign_sources(app, exception):
    """Fail the build if a page or stylesheet of the site loads something from another site."""
    if exception is not None or app.builder.format != "html":
        return
    for path in sorted([*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]):
        found = foreign_sources(path.read_text(encoding="utf-8"))
        if found:
            raise ExtensionError(f"{path.name} loads from other sites: {found[:3]}. Serve it from the site itself.")


def copy_mathjax(app, exception):
    """Copy MathJax and its licence from the installed package into the site."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir, "_static", "mathjax")
    folder.mkdir(parents=True, exist_ok=True)
    with as_file(files("mathjax") / "static" / "mathjax") as package:
        shutil.copyfile(package / "es5" / Path(MATHJAX).name, folder / Path(MATHJAX).name)
        shutil.copyfile(package / "LICENSE", folder / "LICENSE")
