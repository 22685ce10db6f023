"""The one door to torchvision, which opens also where the wheel was built for another torch.

The registry's wheel of torchvision is built for CUDA. Beside a CPU build of torch its compiled
library does not load, and `import torchvision` ends with "operator torchvision::nms does not exist"
although models, datasets and transforms need none of those operators.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .errors import PrunerError

_declared: list[Any] = []  # a torch Library takes its operators with it when it is collected


@cache
def torchvision(module: str = "") -> ModuleType:
    """Import torchvision, or one of its modules, declaring missing operators where that is needed.

    Only when the wheel's own library cannot load are the schemas of `nms` and `qnms` declared;
    calling one of them then raises, everything else works.

    Args:
        module: name below torchvision, such as "transforms"; empty for torchvision itself.

    Raises:
        PrunerError: torchvision is not installed, or does not work beside this torch at all.

    Example:
        >>> torchvision("transforms").__name__
        'torchvision.transforms'
    """
    if find_spec("torchvision") is None:
        raise PrunerError("torchvision is not installed; install it with: pip install torchvision")
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise PrunerError(
                f"torchvision does not load beside this torch ({error}); "
                "install both from one index"
            ) from error
        _declare_operators()
    return import_module("torchvision" + (f".{module}" if module else ""))


def operators_work() -> bool:
    """Tell whether torchvision's compiled operators (nms and its kin) can be called."""
    torchvision()
    return not _declared


def _declare_operators() -> None:
    """Declare the operator schemas that torchvision registers fake kernels for at import."""
    import sys

    import torch

    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
