"""Whether FFCV is there; the door through which it is imported."""

import os
import sys
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numba
import torch
from numba.np.ufunc import parallel

from ..errors import PrunerError

HOW = (
    "it needs a C++ compiler, OpenCV and TurboJPEG; on Debian and Ubuntu: apt-get install "
    "pkg-config g++ python3-dev libopencv-dev libturbojpeg0-dev; then: "
    "pip install 'datapruner[ffcv]'"
)


def available() -> tuple[bool, str]:
    """Tell whether FFCV works here, and its version or why it does not.

    Example:
        >>> works, what = available()
        >>> isinstance(works, bool) and len(what) > 0
        True
    """
    try:
        require()
    except PrunerError as error:
        return False, str(error)
    return True, f"ffcv {version('ffcv')}"


@cache
def require() -> None:
    """Import ffcv; importing it sets torch and numba to one thread, which is undone here.

    Raises:
        PrunerError: it is not installed or does not load; names the packages to install.
    """
    if find_spec("ffcv") is None:
        raise PrunerError(f"FFCV is not installed, and .beton files need it; {HOW}")
    leave_tbb()
    threads = torch.get_num_threads(), numba.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports distutils, which is deprecated
            import_module("ffcv.loader")
            import_module("ffcv.fields")
    except (ImportError, OSError, AttributeError) as error:
        raise PrunerError(f"FFCV is installed but does not load ({error}); {HOW}") from error
    finally:
        torch.set_num_threads(threads[0])
        numba.set_num_threads(threads[1])


def leave_tbb() -> None:
    """Have numba run its threads on OpenMP instead of TBB, unless the user chose a layer.

    numba takes TBB where it finds it, and OpenCV's Debian packages bring it. On TBB every call of
    parallel code leaves some 7 KB behind and makes all later calls slower: 0.1 ms at first, 2 ms
    after 24,000 calls, which are a dozen epochs of FFCV on CIFAR-10 (numba issue 10556); and where
    there is one CPU, a process that has forked never ends (oneTBB issue 2056). FFCV starts numba's
    threads when it is imported, so that they may have to be started again, on the other layer;
    what was compiled before stays on TBB, which goes on working beside it.
    """
    if {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & set(os.environ):
        return
    settings: Any = numba.config
    settings.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    if getattr(parallel, "_threading_layer", None) == "tbb" and parallel._is_initialized:
        threads = numba.get_num_threads()
        parallel._is_initialized = False
        parallel._launch_threads()  # type: ignore[no-untyped-call]  # numba carries no types
        numba.set_num_threads(threads)


@cache
def tell_of_tbb() -> None:
    """Say once on stderr that numba runs on TBB all the same: the user's choice, or no OpenMP."""
    if getattr(parallel, "_threading_layer", None) == "tbb":
        print(  # noqa: T201
            "numba runs on TBB here, on which FFCV gets slower with every epoch (numba issue "
            "10556); set NUMBA_THREADING_LAYER=omp before Python starts",
            file=sys.stderr,
        )
