"""Every example in a docstring runs and gives what it says; so does the Python in the README."""

import doctest
import pkgutil
import re
import tempfile
from importlib import import_module

import pytest
from conftest import ROOT

import datapruner
import scorers

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    found = [datapruner.__name__, scorers.__name__]
    for package in (datapruner, scorers):
        walk = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        found += [module.name for module in walk if not module.name.endswith("__main__")]
    return sorted(found)


def marked(name: str):
    is_ffcv = name.startswith("datapruner.ffcv")
    return pytest.param(name, marks=pytest.mark.ffcv if is_ffcv else ())


@pytest.mark.parametrize("name", [marked(name) for name in modules()])
def test_examples_in_docstrings(name, monkeypatch, tmp_path):
    module = import_module(name)
    monkeypatch.chdir(tmp_path)  # an example may write, here or into a temporary folder
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for example in doctest.DocTestFinder().find(module):
        runner.run(example, out=report.append)
    assert not runner.failures, "\n" + "".join(report)


def test_python_in_the_readme(monkeypatch, tmp_path):
    """Blocks fenced as `python` run in order, as one script; fragments are fenced as `py`."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), space)
