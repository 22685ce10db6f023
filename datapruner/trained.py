"""The network of a record, or one handed over, made ready for a pass over the data."""

from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from .checkpoint import load_tensors
from .errors import Refused, UsageError
from .loaders import Loader
from .models import make_model
from .run import Run
from .traces import Record
from .training import make_loader, network

if TYPE_CHECKING:
    from .data import Data

Network = Record | nn.Module | str
"""A record, for the network it trained; a network; or a name for `make_model`, untrained."""


class Ready(NamedTuple):
    """A network, the loader that feeds it, and the run whose settings both follow."""

    model: nn.Module
    loader: Loader
    run: Run


def ready(data: "Data", network_of: Network, run: Run | None = None) -> Ready:
    """Return a network with its loader; a record's network has its weights at the end of the run.

    Args:
        data: what the loader reads.
        network_of: see `Network`.
        run: batch size, picture size, workers and device are read; for a Record its own is taken.

    Raises:
        Refused: the record is of other data.
        UsageError: the record holds no network.

    Example:
        >>> from datapruner import open_data
        >>> type(ready(open_data("digits"), "mlp").loader).__name__
        'TensorLoader'
    """
    run = run or Run()
    if isinstance(network_of, Record):
        if network_of.fingerprint != data.fingerprint:
            raise Refused(
                f"{network_of.folder}: recorded on other data (fingerprint "
                f"{network_of.fingerprint}, these have {data.fingerprint}); record again"
            )
        if "settings" not in network_of.about:
            raise UsageError(
                f"{network_of.folder}: recorded by a loop of your own, so the network is not in "
                "it; hand over the network itself"
            )
        run = Run.from_dict(network_of.about["settings"])
    loader = make_loader(data, run)
    if isinstance(network_of, nn.Module):
        return Ready(network_of, loader, run)
    if isinstance(network_of, str):
        first = data.readable.nonzero()[0]
        shape = tuple(next(iter(loader(first, train=False))).x.shape[1:])
        return Ready(make_model(network_of, data.num_classes, shape, seed=run.seed), loader, run)
    model = network(run, data, loader)
    _load(model, network_of, "model.safetensors")
    return Ready(model, loader, run)


def load_epoch(model: nn.Module, record: Record, epoch: int) -> nn.Module:
    """Give the network the weights that the record's had after an epoch; in place.

    Raises:
        UsageError: the weights of that epoch were not kept.
    """
    if epoch not in record.checkpoints:
        raise UsageError(
            f"{record.folder}: has no weights of epoch {epoch}, only of {record.checkpoints}; "
            f"record anew with checkpoints=({epoch},)"
        )
    return _load(model, record, f"weights-{epoch}.safetensors")


def _load(model: nn.Module, record: Record, file: str) -> nn.Module:
    sections, _ = load_tensors(record.folder / file)
    model.load_state_dict(sections["model"])
    return model
