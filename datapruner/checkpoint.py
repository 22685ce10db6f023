"""A training run put down between two epochs, in one safetensors file, and taken up again."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .errors import PrunerError, Refused
from .files import whole_file
from .history import History

Sections = dict[str, dict[str, Tensor]]


def save_tensors(path: Path | str, sections: Sections, about: dict[str, Any]) -> None:
    """Write named groups of tensors and a JSON value beside them, whole or not at all."""
    flat = {
        f"{section}/{name}": tensor.detach().contiguous().cpu().clone()
        for section, tensors in sections.items()
        for name, tensor in tensors.items()
    }
    with whole_file(path) as temporary:
        temporary.touch()  # with the rights of any file made here: save_file keeps others out
        rights = temporary.stat().st_mode & 0o777
        save_file(flat, temporary, metadata={"datapruner": json.dumps(about)})
        temporary.chmod(rights)


def load_tensors(path: Path | str) -> tuple[Sections, dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        PrunerError: the file is missing, damaged or not ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["datapruner"])
            sections: Sections = {}
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                section, name = key.split("/", 1)
                sections.setdefault(section, {})[name] = file.get_tensor(key)
    except FileNotFoundError:
        raise PrunerError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise PrunerError(f"{path}: may not be read; ask its owner for the right to") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise PrunerError(
            f"{path}: not a datapruner weights file ({error}); remove it and run again"
        ) from None
    return sections, about


def weights_hash(model: nn.Module) -> str:
    """Return 16 hex digits over the names and values of a network's weights and buffers.

    Example:
        >>> weights_hash(nn.Linear(2, 2, bias=False)) == weights_hash(nn.Linear(2, 2, bias=False))
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_weights(model: nn.Module, tensors: dict[str, Tensor], path: Path | str) -> None:
    """Give a network the weights that were read from `path`, in place.

    Raises:
        Refused: they are another network's; the weights stay as they were.
    """
    own = model.state_dict()
    fits = all(getattr(own.get(k), "shape", None) == t.shape for k, t in tensors.items())
    try:
        if not fits or not own.keys() <= {*tensors, *_counters(own)}:
            raise RuntimeError  # load_state_dict would load the others first
        model.load_state_dict(tensors)
    except RuntimeError:
        raise Refused(
            f"{path}: holds the weights of another network than this {type(model).__name__}; "
            "was its code changed?"
        ) from None


def _counters(names: Iterable[str]) -> list[str]:
    """Return what batch norms count by, which torch does without where it is missing."""
    return [name for name in names if name.endswith("num_batches_tracked")]


def save_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    states: dict[str, dict[str, Any]],
    history: History,
    run_id: str,
    of: dict[str, Any],
) -> None:
    """Write everything that the next epoch depends on.

    Args:
        path: the file.
        model: its weights and buffers.
        optimizer: its momentum.
        states: by name (sampler, masks), what else goes on: tensors and JSON values.
        history: of the epochs done.
        run_id: what the file belongs to.
        of: what else it belongs to, by name: JSON values.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    momentum = {
        names[id(p)]: state["momentum_buffer"]
        for p, state in optimizer.state.items()
        if state.get("momentum_buffer") is not None
    }
    tensors = {
        name: {k: v for k, v in state.items() if isinstance(v, Tensor)}
        for name, state in states.items()
    }
    plain = {
        name: {k: v for k, v in state.items() if not isinstance(v, Tensor)}
        for name, state in states.items()
    }
    save_tensors(
        path,
        {"model": model.state_dict(), "momentum": momentum, **tensors},
        {"run": run_id, "of": of, "history": history.rows(), "states": plain},
    )


def load_checkpoint(
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run_id: str,
    of: dict[str, Any],
) -> tuple[History, dict[str, dict[str, Any]]]:
    """Restore model and optimizer in place; return the history and the other states by name.

    Raises:
        Refused: the checkpoint is of another run, or not of what `save_checkpoint` was told.
        PrunerError: the file is damaged, or holds weights alone.
    """
    sections, about = load_tensors(path)
    if "states" not in about:
        raise PrunerError(f"{path}: holds weights and no run to go on with; give another file")
    if about["run"] != run_id:
        raise Refused(
            f"{path}: holds another run ({about['run']}, not {run_id}); use another --out"
        )
    there = about.get("of", {})
    for name, here in of.items():
        if there.get(name, here) != here:
            raise Refused(
                f"{path}: was written with another {name} ({there[name]}, here {here}); go on with "
                "that one, or start anew with another file"
            )
    load_weights(model, sections["model"], path)
    momentum = sections.get("momentum", {})
    for name, parameter in model.named_parameters():
        if name in momentum:
            buffer = torch.empty_like(parameter).copy_(momentum[name])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    states = {name: plain | sections.get(name, {}) for name, plain in about["states"].items()}
    return History.from_rows(about["history"]), states
