"""The public names exist, are listed in the API reference, and importing the package stays light."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests._public import NAMES, PUBLIC, resolve

ROOT = Path(__file__).parents[1]
WHOLLY_PUBLIC = ["skmtl", "skmtl.datasets", "skmtl.model_selection"]


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_exported(name):
    module, _, short = name.rpartition(".")
    assert resolve(name) is not None
    assert short in import_module(module).__all__


@pytest.mark.parametrize("module", WHOLLY_PUBLIC)
def test_nothing_else_is_exported(module):
    assert sorted(import_module(module).__all__) == PUBLIC[module]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_exported_name_exists(module):
    room = import_module(module)
    assert [name for name in room.__all__ if not hasattr(room, name)] == []


def test_api_reference_lists_exactly_the_public_names():
    reference = (ROOT / "docs" / "api" / "index.rst").read_text(encoding="utf-8")
    listed, module = [], None
    for line in reference.splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split("::")[1].strip()
        elif re.fullmatch(r"   \w+", line):
            listed.append(f"{module}.{line.strip()}")
    assert sorted(listed) == sorted(NAMES)


@pytest.mark.parametrize("heavy", ["matplotlib", "pandas", "polars", "torch._dynamo"])
def test_import_adds_nothing_heavy(heavy):
    code = f"""
import sys, torch, sklearn, skorch  # skorch imports pandas where it is installed
before = {heavy!r} in sys.modules
import skmtl
sys.exit({heavy!r} in sys.modules and not before)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ci_runs_the_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install -c constraints.txt -e ".[test]"' in readme
    assert '-c constraints.txt -e ".[test]"' in script
    assert script.rstrip().endswith("\npytest")


def test_the_readme_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert examples
    names: dict = {}
    for example in examples:  # in order: the later ones go on from the earlier
        exec(compile(example, "README.md", "exec"), names)
