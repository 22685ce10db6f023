"""A pruned network for other programs: torch.export and ONNX."""

import warnings
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import PrunerError
from ..files import whole_file

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def exported(model: nn.Module, example: Tensor) -> "ExportedProgram":
    """Return the network as a torch.export program that takes batches of any size.

    Taken from a copy in eval mode; the network is not touched. `to_pt2` writes it to a file.

    Args:
        model: any network; masks must be made plain before, or the network made smaller.
        example: (b, ...) a batch it takes.

    Raises:
        PrunerError: torch.export cannot follow the network.

    Example:
        >>> program = exported(nn.Linear(4, 2), torch.zeros(1, 4))
        >>> tuple(program.module()(torch.zeros(5, 4)).shape)
        (5, 2)
    """
    from torch.export import Dim  # late, as it loads the compiler

    model = deepcopy(model).eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.contiguous()  # torch.export.save warns of channels-last
    example = example.to(next(model.parameters()).device)
    if len(example) < 2:  # with one row torch.export would hold the batch fast at one
        example = torch.cat([example, example])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its own parts
            return torch.export.export(model, (example,), dynamic_shapes=({0: Dim.AUTO},))
    except Exception as error:  # the network's code runs, and may raise anything
        first = str(error).strip().split("\n")[0]
        raise PrunerError(
            f"torch.export cannot follow {type(model).__name__} ({first}); export it with tools "
            "that know the network"
        ) from error


def to_pt2(model: nn.Module, example: Tensor, path: Path | str) -> Path:
    """Write the network as a torch.export program, and return the path.

    Torch alone reads it, without the code of the network: `torch.export.load(path).module()` takes
    batches of any size.

    Args:
        model: as in `exported`.
        example: as in `exported`.
        path: of the file, which ends in .pt2; one that is there is replaced.

    Raises:
        PrunerError: torch.export cannot follow the network.

    Example:
        >>> path = to_pt2(nn.Linear(4, 2), torch.zeros(1, 4), "small.pt2")
        >>> tuple(torch.export.load(path).module()(torch.zeros(5, 4)).shape)
        (5, 2)
    """
    program = exported(model, example)
    with whole_file(path) as temporary, temporary.open("wb") as handle:
        torch.export.save(program, handle)
    return Path(path)


def to_onnx(model: nn.Module, example: Tensor, path: Path | str) -> Path:
    """Write the network as one ONNX file that takes batches of any size, and return the path.

    Args:
        model: as in `exported`.
        example: as in `exported`.
        path: of the file; one that is there is replaced.

    Raises:
        PrunerError: what writes ONNX is not installed, or cannot follow the network.

    Example:
        >>> to_onnx(nn.Linear(4, 2), torch.zeros(1, 4), "small.onnx").name  # doctest: +SKIP
        'small.onnx'
    """
    path = Path(path)
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise PrunerError(
            f"ONNX needs {' and '.join(missing)}, which is not installed; "
            "install it with: pip install 'datapruner[export]'"
        )
    program = exported(model, example)
    with whole_file(path) as temporary:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about its own parts
                converted = torch.onnx.export(program, verbose=False)
        except Exception as error:  # the converter has exceptions of its own for each operator
            first = str(error).strip().split("\n")[0]
            raise PrunerError(
                f"{type(model).__name__} cannot be written as ONNX ({first}); "
                "use torch.export instead"
            ) from error
        assert converted is not None
        converted.save(str(temporary), external_data=False)
    return path
