"""Sphinx configuration. Nothing is fetched from the network."""

import os
import re
import sys
import warnings
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))  # for _families

import skmtl

project = "skmtl"
author = "the skmtl developers"
copyright = "the skmtl developers"
version = release = skmtl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "_families",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
default_role = "code"
nitpicky = False

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings tell types and shapes
numpydoc_show_class_members = False  # the class template lists them
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"[/\\]\d{4}_\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib",),
    "copyfile_regex": r"GALLERY_HEADER\.rst",
}
warnings.filterwarnings("error", module="skmtl")  # in the examples

html_theme = "pydata_sphinx_theme"
html_title = "skmtl"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_sidebars = {"index": [], "install": [], "changelog": []}


def _escape_initials(text):
    """Keep docutils from reading the initial of "R. Caruana" in a reference as the number of a list."""
    return re.sub(r"^(\s*\.\. \[[\w-]+\] [A-Z])\. ", r"\1\\. ", text, flags=re.MULTILINE)


def _escape_in_docstring(app, what, name, obj, options, lines):
    lines[:] = [_escape_initials(line) for line in lines]


def _escape_in_page(app, docname, source):
    source[0] = _escape_initials(source[0])


def setup(app):
    """Connect the hooks; docstrings after numpydoc has laid them out."""
    app.connect("autodoc-process-docstring", _escape_in_docstring, priority=900)
    app.connect("source-read", _escape_in_page)
