"""Whether FFCV is there; the door through which it is imported."""

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

import numba
import torch

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
