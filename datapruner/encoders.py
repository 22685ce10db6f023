"""The words that name an encoder, and what each comes to: a network with its loader, or rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from .augment import Normalise
from .checkpoint import load_tensors, load_weights, weights_hash
from .errors import Refused, UsageError, suggest
from .files import read_json
from .heads import classifier
from .loaders import Loader
from .models import make_model
from .run import Run
from .selfsup import METHODS, blind, load_encoder
from .teacher_words import read_weights
from .trained import here, saved_run
from .training import make_loader, network

if TYPE_CHECKING:
    from .data import Data

_IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_KINDS = (*METHODS, "torchvision:NAME@FILE", "package.module:factory@FILE", "FILE.npy", "FOLDER")


@dataclass(frozen=True)
class Encoder:
    """A network that embeds, the loader whose plain pictures it sees, and what both are.

    Attributes:
        model: whose penultimate features are the embedding.
        loader: read without augmentation.
        device: where the pass runs.
        classes: outputs of its classifier; None takes the last linear layer.
        about: encoder, weights (hash) and transform, for the provenance.
    """

    model: nn.Module
    loader: Loader
    device: str
    classes: int | None
    about: dict[str, Any]


def load_network(word: str, data: "Data", run: Run | None = None) -> Encoder:
    """Return the encoder that a word names; a self-supervised one reads no label, now or later.

    Args:
        word: a folder that `pretrain`, `train` or `record` wrote, or NETWORK@FILE: a name that
            `make_model` takes and its weights, safetensors or what torch.save wrote of a
            state_dict. torchvision's see pictures normalised as on ImageNet.
        data: what is to be embedded.
        run: batch size, picture size, workers and device are read; of a run on these data its own
            are taken, but for a device that is named here.

    Raises:
        UsageError: the word names nothing, or a network without weights.
        PrunerError: the file of weights is missing or damaged.
        Refused: a run on other data, or weights of another network.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "a"
        >>> _ = dp.pretrain(data, run=Run(model="mlp", steps=1), out=out)
        >>> load_network(str(out), data).about["weights"] == load_network(
        ...     str(out), data
        ... ).about["weights"]
        True
    """
    run, folder = run or Run(), Path(word)
    if folder.is_dir():
        return _of_a_folder(folder, data, run)
    name, at, file = word.partition("@")
    if not at:
        if ":" in word:
            raise UsageError(
                f"encoder {word!r} has random weights; give a file of trained ones: {word}@FILE"
            )
        raise UsageError(f"no encoder {word!r}, and no such folder; {suggest(word, _KINDS)}")
    weights = read_weights(file)  # before anything is built: the file may be missing
    widths = [len(tensor) for tensor in weights.values() if tensor.ndim == 2]
    if not widths:
        raise Refused(f"{file}: holds no linear layer, whose input would be the embedding")
    colour = name.startswith("torchvision:") and (data.shape or (3,))[0] == 3
    loader = make_loader(blind(data), run, like=_like(_IMAGENET) if colour else None)
    shape = _shape(data, loader)
    model = make_model(name, widths[-1], shape)
    classes = _classes(model, weights, widths[-1])
    if classes != widths[-1]:
        model = make_model(name, classes, shape)
    load_weights(model, weights, file)
    return _encoder(word, model, loader, run, classes)


def _classes(model: nn.Module, weights: Mapping[str, Tensor], otherwise: int) -> int:
    """Return the rows of the file's classifier, which a file in order of names need not have last.

    Args:
        model: of the same kind, whatever its classes.
        weights: those of the file.
        otherwise: what is returned where the network's classifier is not in the file.
    """
    try:
        last = classifier(model)
    except UsageError:  # said better when its features are asked for
        return otherwise
    name = next(name for name, part in model.named_modules() if part is last)
    found = weights.get(f"{name}.weight" if name else "weight")
    return otherwise if found is None else len(found)


def _of_a_folder(folder: Path, data: "Data", run: Run) -> Encoder:
    about = folder / "run.json"
    if about.exists() and read_json(about).get("kind") in METHODS:
        model, normalise = load_encoder(folder)
        loader = make_loader(blind(data), run, like=_like(normalise))
        _refuse_channels(folder, normalise, _shape(data, loader))
        return _encoder(str(folder), model, loader, run, None)
    its = here(saved_run(folder, data), run)
    loader = make_loader(data, its)
    model = network(its, data, loader)
    load_weights(model, load_tensors(folder / "model.safetensors")[0]["model"], folder)
    return _encoder(str(folder), model, loader, its, data.num_classes)


def _encoder(word: str, model: nn.Module, loader: Loader, run: Run, classes: int | None) -> Encoder:
    normalise = getattr(loader, "normalise", None)
    transform = {
        "augmentation": "none",
        "image_size": run.image_size,
        "normalise": None if normalise is None else [normalise.mean, normalise.std],
    }
    transform = json.loads(json.dumps(transform))  # as a file gives it back, tuples being lists
    about = {"encoder": word, "weights": weights_hash(model), "transform": transform}
    return Encoder(model, loader, run.device, classes, about)


def _like(normalise: Normalise) -> Loader:
    """Stand in for a loader whose normalisation, and nothing else, is taken over."""
    return cast(Loader, SimpleNamespace(normalise=normalise))


def _shape(data: "Data", loader: Loader) -> tuple[int, ...]:
    first = data.readable.nonzero()[0]
    return tuple(next(iter(loader(first, train=False))).x.shape[1:])


def _refuse_channels(folder: Path, normalise: Normalise, shape: tuple[int, ...]) -> None:
    if len(normalise.mean) != shape[0]:
        raise Refused(
            f"{folder}: an encoder of pictures of {len(normalise.mean)} channels, these have "
            f"{shape[0]}; train one on these"
        )
