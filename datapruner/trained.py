"""The network of a record, or one handed over, made ready for a pass over the data."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from .checkpoint import load_tensors, load_weights
from .errors import Refused, UsageError
from .files import read_json
from .hardware import pick_device
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
        run: batch size, picture size, workers and device are read; for a Record its own is taken,
            but for a device that is named here.

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
        run = here(Run.from_dict(network_of.about["settings"]), run)
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


def saved_run(folder: Path | str, data: "Data") -> Run:
    """Return the settings of a finished run whose network lies in a folder's model.safetensors.

    Args:
        folder: that `train` or `record` wrote.
        data: what it must have been trained on.

    Raises:
        UsageError: there is no finished run in it.
        Refused: it was trained on other data.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "a"
        >>> _ = dp.train(dp.Run(model="mlp", epochs=1), data, out=out)
        >>> saved_run(out, data).model
        'mlp'
    """
    folder = Path(folder)
    settings, made_for = None, None
    if (folder / "record.json").exists():
        about = read_json(folder / "record.json")
        settings, made_for = about.get("settings"), about["fingerprint"]
    elif (folder / "run.json").exists():
        about = read_json(folder / "run.json")
        settings, made_for = about["run"], about["fingerprints"]["data"]
    if settings is None or not (folder / "model.safetensors").exists():
        raise UsageError(
            f"{folder}: holds no finished run; give the --out of a train that came to its end, or "
            "a record"
        )
    if made_for != data.fingerprint:
        raise Refused(
            f"{folder}: trained on other data (fingerprint {made_for}, {data.name} has "
            f"{data.fingerprint}); train it on these"
        )
    return here(Run.from_dict(settings))


def here(its: Run, asked: Run | None = None) -> Run:
    """Return the settings of a saved run for this machine, which may lack the device that it had.

    Args:
        its: the settings.
        asked: whose device is taken, unless it is auto.

    Example:
        >>> here(Run(device="cuda:99")).device, here(Run(), Run(device="cpu")).device
        ('auto', 'cpu')
    """
    if asked is not None and asked.device != "auto":
        return replace(its, device=asked.device)
    try:
        pick_device(its.device)
    except UsageError:
        return replace(its, device="auto")
    return its


def _load(model: nn.Module, record: Record, file: str) -> nn.Module:
    sections, _ = load_tensors(record.folder / file)
    load_weights(model, sections["model"], record.folder / file)
    return model
