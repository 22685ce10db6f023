"""What the machine computes best in: the device, the precision, the memory layout."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from .errors import UsageError
from .heads import classifier, float32_classifier


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of that name; auto is the first GPU, else the CPU.

    Raises:
        UsageError: the device is not there.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count() or "no"
        raise UsageError(f"device {name!r}: torch sees {seen} GPU here; use --device auto")
    return device


def computes_in_bf16(device: torch.device) -> bool:
    """Tell whether the hardware multiplies bfloat16 itself; emulated it is slower than float32.

    Example:
        >>> isinstance(computes_in_bf16(torch.device("cpu")), bool)
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # since torch 2.6
        return any(getattr(torch.cpu, ask, bool)() for ask in asks)
    return False


@contextmanager
def precision_of(model: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """Run the block's forward passes in bf16 with a float32 classifier, or all in float32.

    Args:
        model: whose classifier stays in float32; a network without one computes all in bf16.
        device: where it runs.
        precision: "bf16", "float32", or "auto" for bf16 where the hardware computes in it.

    Example:
        >>> with precision_of(nn.Linear(2, 2), torch.device("cpu"), "bf16"):
        ...     print(torch.is_autocast_enabled("cpu"))
        True
    """
    if not _in_bf16(device, precision):
        with torch.autocast(device.type, enabled=False):
            yield
        return
    with torch.autocast(device.type, torch.bfloat16), float32_head(model, device, precision):
        yield


@contextmanager
def float32_head(model: nn.Module, device: torch.device, precision: str) -> Iterator[None]:
    """Keep the classifier in float32 for as long as `precision_of` is entered inside the block.

    It does so by itself, but every time anew, and `torch.compile` would compile every time anew.
    A network without a classifier, one that has the block around it already, and one that computes
    in float32 anyhow are left as they are.

    Args:
        model: the network.
        device: where it runs.
        precision: as in `precision_of`.

    Example:
        >>> with float32_head(nn.Linear(2, 2), torch.device("cpu"), "float32"):
        ...     pass
    """
    try:
        done = not _in_bf16(device, precision) or "forward" in vars(classifier(model))
    except UsageError:
        done = True
    with nullcontext() if done else float32_classifier(model):
        yield


def _in_bf16(device: torch.device, precision: str) -> bool:
    return precision == "bf16" or (precision == "auto" and computes_in_bf16(device))


def placed(x: Tensor, device: torch.device) -> Tensor:
    """Bring a batch to the device; pictures go channels-last, which convolutions run faster in."""
    if x.ndim == 4:
        return x.to(device, memory_format=torch.channels_last, non_blocking=True)
    return x.to(device, non_blocking=True)


def place_model(model: nn.Module, device: torch.device) -> nn.Module:
    """Bring a network to the device, its convolutions channels-last; in place."""
    if any(isinstance(m, nn.Conv2d) for m in model.modules()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    return model.to(device)
