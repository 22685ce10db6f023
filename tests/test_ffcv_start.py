"""What makes FFCV's start shorter, and what is said meanwhile."""

import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from ffcv_files import N, Sizes, ffcv_loader, rows_given, small_beton, threads
from numba.np import arrayobj

import datapruner as dp
from datapruner.ffcv import compiling, helpers

pytestmark = pytest.mark.ffcv

START = """
import sys
from datapruner import RS2, prune
from datapruner.ffcv.installed import require
require()
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.loader import Loader
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor
import numpy as np
for spread in map(float, sys.argv[2:]):
    loader = Loader(
        sys.argv[1], batch_size=32, num_workers=1, drop_last=False,
        pipelines={
            "image": [
                SimpleRGBImageDecoder(), RandomHorizontalFlip(),
                NormalizeImage(np.ones(3), np.full(3, spread), np.float32), ToTensor(),
            ],
            "label": None, "index": None,
        },
    )
    for (x,) in prune(loader, RS2(0.1)):
        pass
    hits = [
        sum(f.stats.cache_hits.values())
        for stage, _ in loader.code[0] for f in stage.__globals__.values() if hasattr(f, "stats")
    ]
    print(sum(hits), round(float(x.max()) * spread))
"""


def test_the_next_process_finds_what_was_compiled(tmp_path: Path) -> None:
    found = []
    for spreads in (["2"], ["2", "4"]):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", START,
             str(small_beton()), *spreads],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        found += [line.split() for line in done.stdout.splitlines()]
    # flip and normalise in the second process; then another number to divide by, which is compiled
    assert [int(hits) for hits, _ in found] == [0, 2, 1]
    assert {top for _, top in found} == {"254"}


LAYER = """
import ffcv.loader  # starts numba's threads, on TBB where it is installed
import numba
from datapruner.ffcv.installed import require, tell_of_tbb
require()
tell_of_tbb()
print(numba.threading_layer(), numba.get_num_threads())
"""


@pytest.mark.parametrize("chosen", [None, "workqueue"])
def test_numba_leaves_tbb_which_leaks_unless_told_to_stay(chosen: str | None) -> None:
    choice = {} if chosen is None else {"NUMBA_THREADING_LAYER": chosen}
    done = subprocess.run(
        [sys.executable, "-c", LAYER],
        env={**os.environ, "NUMBA_NUM_THREADS": "2", **choice},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.split() == [chosen or "omp", "1"], done.stderr[-2000:]
    assert "TBB" not in done.stderr


ONE_CPU = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from datapruner.doctor import checks
assert any("ffcv" in check.name.lower() for check in checks())
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_process_that_forks_ends_where_there_is_one_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_CPU], timeout=240, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_slices_are_compiled_without_the_long_message_and_still_checked() -> None:
    usual = arrayobj.raise_with_shape_context
    with compiling.plain_errors():

        @numba.njit
        def assign(a: np.ndarray, b: np.ndarray) -> None:
            a[1:3] = b

        a = np.zeros(4)
        assign(a, np.ones(2))
    assert a.tolist() == [0, 1, 1, 0]
    with pytest.raises(ValueError, match="different shape"):
        assign(a, np.ones(3))
    assert arrayobj.raise_with_shape_context is usual


def test_a_long_wait_is_explained(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with compiling.explained("quick"):
        pass
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(compiling, "PATIENCE", 0.01)
    with compiling.explained("slow"):
        time.sleep(0.1)
    assert capfd.readouterr().err == "slow ...\nslow: 0 s\n"


def test_warming_up_compiles_in_the_background() -> None:
    from datapruner.ffcv.epochs import _compiled, quiet_loader

    loader = quiet_loader(
        str(small_beton()), batch_size=32, num_workers=1, pipelines={"image": None, "label": None}
    )
    pruned = dp.prune(loader, Sizes([64]))
    before = threads()
    pruned.warm_up()
    rows = [i for (index,) in pruned for i in index.flatten().tolist()]
    assert rows == Sizes([64]).draw(0)[0].sort().values.tolist()
    assert loader in _compiled
    deadline = time.monotonic() + 10
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == before


def test_ffcv_itself_still_gives_everything_afterwards() -> None:
    loader = ffcv_loader(1, True, "SEQUENTIAL")
    loader.drop_last = False
    list(rows_given(dp.prune(loader, dp.RS2(0.05))))
    assert sum(len(index) for _, _, index in loader) == N


def test_helpers_are_used_again_and_not_across_a_fork() -> None:
    names = []
    for _ in range(3):
        task = helpers.Task(lambda: names.append(threading.current_thread().ident))
        assert task.wait(10)
    assert len(set(names)) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if helpers.Task(lambda: None).wait(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
