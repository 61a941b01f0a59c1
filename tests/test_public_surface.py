"""The public names exist, importing the package stays light, and the README does what it says."""

import inspect
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import skmtl
from tests._public import DETAILS, PACKAGES

ROOT = Path(__file__).parents[1]


def test_every_package_is_public_or_a_detail():
    packages = [f"skmtl.{module.name}" for module in pkgutil.iter_modules(skmtl.__path__) if module.ispkg]
    assert sorted(packages) == sorted([*PACKAGES[1:], *DETAILS])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_exists(package):
    room = import_module(package)
    assert [name for name in room.__all__ if not hasattr(room, name)] == []


@pytest.mark.parametrize("package", [*PACKAGES[1:], *DETAILS])
def test_what_a_package_shows_has_its_module_path(package):
    shown = [v for n, v in vars(import_module(package)).items() if n[0] != "_" and inspect.isclass(v)]
    ours = [cls for cls in shown if cls.__module__.startswith("skmtl")]
    assert ours or package == "skmtl.datasets"
    private = [f"{cls.__module__}.{cls.__name__}" for cls in ours if "._" in cls.__module__]
    if package != "skmtl.training":  # its classes are in no file that users keep
        assert private == []


@pytest.mark.parametrize("heavy", ["keras", "matplotlib", "pandas", "polars", "torch._dynamo"])
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
