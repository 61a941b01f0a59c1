"""Sphinx configuration. Nothing is fetched from the network, neither by the build nor by the pages it makes."""

import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the modules beside this file; tests, for the list of public names

import _api
import _hooks
import _inventories

import skmtl

project = "skmtl"
author = "the skmtl developers"
copyright = "the skmtl developers"
version = release = skmtl.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "sg_execution_times.rst",
    "_templates",
    "**/GALLERY_HEADER.rst",
    "api/generated/backreferences",
]
templates_path = ["_templates"]
default_role = "py:obj"  # a link where the name is known, code elsewhere: see _hooks.resolve_short_name
nitpicky = False

intersphinx_mapping = _inventories.write_inventories(HERE / "_build" / "inventories")
intersphinx_disabled_reftypes = ["std:*"]  # our own pages, however theirs are named

mathjax_path = _hooks.MATHJAX  # copied into the site from a package, instead of Sphinx's default, which is a CDN
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load its speech engine from elsewhere

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings describe types and shapes
numpydoc_show_class_members = False  # the class template lists them
numpydoc_xref_param_type = False
python_maximum_signature_line_length = 70  # one parameter a line where a signature is longer
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": rf"[/\\]\d{{4}}_{'' if find_spec('keras') else '(?!keras)'}\w+\.py$",  # those that are run
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/generated/backreferences",  # the examples on the page of each object
    "doc_module": ("skmtl",),
    "reference_url": {"skmtl": None},  # names in the code of examples link to the reference
    "thumbnail_size": (400, 280),
    "download_all_examples": False,
    "write_computation_times": False,  # that page would load its table from another site
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
html_static_path = ["_static"]
html_css_files = ["skmtl.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
}
html_sidebars = {"index": [], "install": [], "benchmarks": [], "map": [], "changelog": []}

_api.write_pages(HERE / "api" / "generated")


def setup(app):
    """Connect the hooks; docstrings after numpydoc has laid them out, short names after intersphinx."""
    app.connect("autodoc-process-docstring", _hooks.escape_in_docstring, priority=900)
    app.connect("source-read", _hooks.prepare_page)
    app.connect("env-check-consistency", _hooks.collect_names)
    app.connect("missing-reference", _hooks.resolve_short_name, priority=900)
    app.connect("viewcode-follow-imported", _hooks.file_of)
    app.connect("build-finished", _hooks.copy_mathjax)
    app.connect("build-finished", _hooks.refuse_foreign_sources, priority=900)
