"""pretrain(): an encoder of small pictures that learns from the pictures alone.

Nothing here reads a label: the data go blind at the door. `knn_probe` is the one exception; it
looks at labels to say how good the encoder is, and nothing that it finds goes back.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .augment import Normalise
from .checkpoint import load_tensors, load_weights, save_tensors
from .claiming import claim
from .engine import fit
from .errors import Refused, UsageError
from .files import read_json, write_json
from .history import History
from .hooks import Observer, Progress
from .losses import Loss
from .models import make_model
from .run import Run
from .seeds import seed_for
from .selfsup_losses import NTXent, VICReg
from .training import make_sampler
from .two_views import TwoViewLoader, Views
from .typed import set_typed

if TYPE_CHECKING:
    from .data import Data

Method = Literal["simclr", "vicreg"]
METHODS: tuple[Method, ...] = ("simclr", "vicreg")


@dataclass(frozen=True)
class SelfSup:
    """What an encoder learns from, instead of labels.

    Attributes:
        method: "simclr" tells views of a picture from those of the others in the batch (NT-Xent);
            "vicreg" has no negatives: it holds up the spread and takes out the correlations.
        hidden: width of the projection head's first layer, which is the encoder's last linear one.
        width: of the projections that are compared; 0 is 128 for simclr and 512 for vicreg.
        temperature: of NT-Xent.
        size: side that views are rendered at; 0 leaves it. Smaller ones train faster.

    Raises:
        UsageError: a value that cannot be trained with.

    Example:
        >>> SelfSup("vicreg").dimensions
        512
    """

    method: Method = "simclr"
    hidden: int = 256
    width: int = 0
    temperature: float = 0.5
    size: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values before any work starts."""
        set_typed(self)
        if self.hidden < 2 or self.width < 0 or self.size < 0 or not self.temperature > 0:
            raise UsageError(
                "self-supervised training takes hidden of at least 2, width and size of at least "
                f"0 and a temperature above 0, not {asdict(self)}"
            )

    @property
    def dimensions(self) -> int:
        """Width of the projections."""
        return self.width or {"simclr": 128, "vicreg": 512}[self.method]

    @property
    def loss(self) -> Loss:
        """The loss: VICReg's weights are the paper's over 25, which plain SGD's rate is used to."""
        if self.method == "simclr":
            return NTXent(self.temperature)
        return VICReg(invariance=1.0, variance=1.0, covariance=0.04)


class Pair(nn.Module):
    """Encoder and projection head: 2b views in, b rows of both projections side by side out.

    Example:
        >>> tuple(Pair(nn.Linear(3, 8), 8, 4)(torch.zeros(6, 3)).shape)
        (3, 8)
    """

    def __init__(self, encoder: nn.Module, hidden: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Project each view."""
        out: Tensor = self.head(self.encoder(x))
        return torch.cat(out.chunk(2), 1)


def pretrain(
    data: "Data",
    spec: SelfSup | Method = "simclr",
    *,
    run: Run | None = None,
    out: Path | str | None = None,
    observers: Sequence[Callable[[nn.Module], Observer]] = (),
    progress: Progress | None = None,
) -> tuple[nn.Module, History]:
    """Train an encoder on two augmented views of each picture, and no label.

    Chen, Kornblith, Norouzi and Hinton 2020 (SimCLR); Bardes, Ponce and LeCun 2022 (VICReg). SGD
    by the run: cosine schedule, warm-up, and a sampler if it names one (rs2 makes short epochs, and
    a checkpoint comes after each).

    Args:
        data: small pictures of one size, in memory. Their labels are not read: change them and the
            same encoder comes out, bit for bit.
        spec: method, or all its settings.
        run: network and training fields are read; `augment` is not, the views are the augmentation.
        out: folder for model.safetensors, history.json and run.json; a killed call goes on when it
            is called again with the same folder, and ends in the same model.safetensors.
        observers: makers of observers, called with the encoder before training; see `knn_probe`.
        progress: called as progress(text, steps done, steps in this epoch).

    Returns:
        The encoder in eval mode, whose penultimate features are what `embed` gives; and the
        history, in which accuracy means nothing.

    Raises:
        UsageError: the data are no small pictures in memory, the network cannot take them, the
            run has a teacher, or it prunes weights by a criterion that reads examples.
        Refused: `out` holds something else.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> encoder, _ = dp.pretrain(data, run=dp.Run(model="lenet", epochs=1))
        >>> dp.embed(data, encoder).shape
        (1438, 84)
    """
    spec, run = SelfSup(spec) if isinstance(spec, str) else spec, run or Run()
    loader, encoder = begun(data, spec, run)
    sampler, fingerprints = make_sampler(run, blind(data))
    pair = _paired(encoder, spec, run.seed)
    about = {
        "spec": asdict(spec),
        "run": run.changed(in_id=True),
        "shape": list(data.shape or ()),
        "normalise": asdict(loader.normalise),
    }
    run_id = _id(run.id(**fingerprints), spec)
    folder = None if out is None else claim(out, spec.method, run_id, run, fingerprints)
    if folder is not None and (folder / "model.safetensors").exists():
        load_weights(encoder, load_tensors(folder / "model.safetensors")[0]["model"], folder)
        return encoder.eval(), History.from_rows(read_json(folder / "history.json"))
    history = fit(
        pair,
        loader,
        sampler,
        run,
        loss=spec.loss,
        masks=run.weights,
        observers=[make(encoder) for make in observers],
        checkpoint=None if folder is None else folder / "checkpoint.safetensors",
        run_id=run_id,
        progress=progress,
    )
    if folder is not None:
        write_json(folder / "history.json", history.rows())
        save_tensors(folder / "model.safetensors", {"model": encoder.state_dict()}, about)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return encoder.eval(), history


def begun(data: "Data", spec: SelfSup, run: Run) -> tuple[TwoViewLoader, nn.Module]:
    """Return the loader of two views and the untrained encoder.

    Raises:
        UsageError: as `pretrain`.

    Example:
        >>> from datapruner import open_data
        >>> len(next(begun(open_data("digits"), SelfSup(), Run())[0](torch.arange(4))).x)
        8
    """
    if run.distill is not None:
        raise UsageError("self-supervised training has no teacher; leave distill out of the run")
    _refuse_calibration(run)
    views = Views.suited(data.shape or (3,), spec.size)
    loader = TwoViewLoader(blind(data), run.batch_size, seed=run.seed, views=views)
    return loader, _encoder(run, spec, tuple(data.shape or ()))


def load_encoder(folder: Path | str) -> tuple[nn.Module, Normalise]:
    """Return the encoder that `pretrain` left in a folder, and the normalisation it learned under.

    Raises:
        UsageError: there is no finished one in it.

    Example:
        >>> import tempfile, datapruner as dp
        >>> out = Path(tempfile.mkdtemp()) / "a"
        >>> _ = pretrain(dp.open_data("digits"), run=Run(model="mlp", steps=1), out=out)
        >>> type(load_encoder(out)[0]).__name__
        'Sequential'
    """
    path = Path(folder) / "model.safetensors"
    if not path.exists():
        raise UsageError(f"{folder}: holds no finished encoder; give its `embed` again to go on")
    sections, about = load_tensors(path)
    if "spec" not in about:
        raise Refused(f"{path}: is no self-supervised encoder's; see `datapruner embed --help`")
    run, spec = Run.from_dict(about["run"]), SelfSup(**about["spec"])
    model = _encoder(run, spec, tuple(about["shape"]))
    load_weights(model, sections["model"], path)
    normalise = Normalise(*(tuple(about["normalise"][key]) for key in ("mean", "std")))
    return model.eval(), normalise


def blind(data: "Data") -> "Data":
    """Return the data with every label 0 and one class: what self-supervised training sees.

    The fingerprint stays: it says which data these are, and decides nothing.

    Example:
        >>> from datapruner import open_data
        >>> blind(open_data("digits")).labels.unique()
        tensor([0])
    """
    return replace(data, labels=torch.zeros(data.n, dtype=torch.int64), classes=("unseen",))


def _refuse_calibration(run: Run) -> None:
    """Refuse criteria that read examples: they give each picture once, where a pair is compared."""
    if run.weights is None:
        return
    from .masks.making import Recipe

    asked = run.weights
    if Recipe.read(asked.criterion, asked.allocation, asked.floor).needs_data():
        raise UsageError(
            f"criterion {asked.criterion!r} with allocation {asked.allocation!r} reads examples "
            "one by one, and self-supervised training compares two views; take magnitude"
        )


def _encoder(run: Run, spec: SelfSup, shape: tuple[int, ...]) -> nn.Module:
    """Return the network, whose classifier is the projection head's first layer."""
    model = make_model(run.model, spec.hidden, shape, seed=run.seed)
    if spec.size and shape[1:] != (spec.size, spec.size):
        small = torch.zeros(2, shape[0], spec.size, spec.size)
        try:
            with torch.no_grad():
                model.eval()(small)
        except RuntimeError:
            raise UsageError(
                f"{run.model} takes pictures of one size, and views of {spec.size} pixels are "
                "another than the data's; leave size at 0, or take a network that pools at its end"
            ) from None
    return model.train()


def _paired(encoder: nn.Module, spec: SelfSup, seed: int) -> Pair:
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, "projection"))
        return Pair(encoder, spec.hidden, spec.dimensions)


def _id(run_id: str, spec: SelfSup) -> str:
    plain = {key: value for key, value in asdict(spec).items() if value != getattr(SelfSup(), key)}
    text: Any = json.dumps({"run": run_id, "spec": plain}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
