"""What every test stands on: one thread, fixed seeds, and which parts may be left out where."""

import os
import warnings
from functools import cache
from pathlib import Path

# Before anything loads OpenMP. With two threads on a busy machine small work can take 200 times as
# long, and sums come out differently. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings
from random_record import random_record

import datapruner as dp

ROOT = Path(__file__).parent.parent
CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

torch.set_num_threads(1)
# No deadline: a first call may compile or import. CI draws the same cases every time.
settings.register_profile("datapruner", deadline=None, derandomize=CI)
settings.load_profile("datapruner")


@cache
def why_no_ffcv() -> str:
    """Return why ffcv cannot be used, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from datapruner.ffcv.installed import leave_tbb

            leave_tbb()  # on which a process hangs at its end where there is one CPU
            import ffcv.loader  # noqa: F401 # only whether it loads
        except ImportError as error:
            return f"ffcv does not load: {error}; see `datapruner doctor`"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ffcv") and (reason := why_no_ffcv()):
        if CI:
            pytest.fail(reason, pytrace=False)  # CI leaves nothing out
        pytest.skip(reason)
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Seed the global generators, which tests may draw from; the library never does."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 # the global generator is the point


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real data beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    return folder


@pytest.fixture(scope="module")
def digits() -> dp.Data:
    """Open the data set that every machine has, anew for each file."""
    return dp.open_data("digits")


@pytest.fixture
def recorded(tmp_path_factory):
    """Give a function that makes a small record in a new folder."""

    def make(seed=0, n=5, fingerprint="00ff", unreadable=()):
        path = tmp_path_factory.mktemp("record") / "run"
        return random_record(path, seed, n, fingerprint, unreadable)

    return make
