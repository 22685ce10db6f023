"""The rules of the layout, as tests: who may import whom, and what a public name brings along."""

import ast
import inspect
import subprocess
import sys
from functools import cache

import pytest
from conftest import ROOT

import datapruner
import scorers

PACKAGES = ("datapruner", "scorers")
LONGEST = 350  # lines; the aim is 300


def files(*folders: str) -> list[str]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(path: str) -> set[str]:
    """Name the top packages that a file imports anywhere in it, relative imports left out."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", files("scorers"))
def test_scorers_know_arrays_only(path):
    allowed = {"numpy", "torch", "faiss", "sklearn", "scipy", "numba", "scorers"}
    assert imported(path) - allowed - sys.stdlib_module_names == set()


@pytest.mark.parametrize("path", files("datapruner"))
def test_packages_with_one_door_each(path):
    found = imported(path)
    if not path.startswith("datapruner/ffcv"):
        assert "ffcv" not in found
    assert "torchvision" not in found, "through datapruner.vision, which mends a mixed pair"
    assert "tests" not in found
    assert "benchmarks" not in found


@pytest.mark.parametrize("path", files(*PACKAGES))
def test_nothing_is_pickled(path):
    """Unpickling runs code: results are kept as safetensors, JSON, npy and Parquet."""
    assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve"} & imported(path)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", files(*PACKAGES, "benchmarks"))
def test_files_are_small(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("module", ["cli", "run"])
def test_the_command_line_answers_without_torch(module):
    code = f"import datapruner.{module}, sys; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"datapruner.{module} imports torch"


PUBLIC = [
    pytest.param(name, marks=pytest.mark.ffcv if home.startswith("ffcv") else ())
    for name, home in datapruner._HOME.items()
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented_with_an_example(name):
    thing = getattr(datapruner, name)
    assert thing.__name__ == name
    assert ">>>" in (thing.__doc__ or ""), f"{name} has no example in its docstring"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_calls_name_what_they_take(name):
    """A keyword that is swallowed is an option that silently does nothing."""
    thing = getattr(datapruner, name)
    calls = [thing]
    if isinstance(thing, type):
        own = inspect.getmembers(thing, inspect.isroutine)
        calls += [method for word, method in own if word in vars(thing) and word[0] != "_"]
    for call in calls:
        if not (isinstance(call, type) and issubclass(call, (Exception, tuple))):
            kinds = [parameter.kind for parameter in inspect.signature(call).parameters.values()]
            assert inspect.Parameter.VAR_KEYWORD not in kinds, f"{call.__qualname__}(**...)"


@pytest.mark.parametrize("name", scorers.SCORERS)
def test_scorers_name_what_they_take(name):
    kinds = {p.kind for p in inspect.signature(scorers.SCORERS[name]).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in (ROOT / "datapruner").iterdir()}
    assert modules & set(datapruner.__all__) == set()


def test_what_type_checkers_see_is_what_is_there():
    block = next(node for node in tree("datapruner/__init__.py").body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == datapruner._HOME


def test_unknown_public_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        datapruner.nothing  # noqa: B018 # the access is the test
    assert set(datapruner.__all__) <= set(dir(datapruner))
