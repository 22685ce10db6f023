"""Run: one frozen value that says everything about a training run, and names it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from .errors import UsageError, suggest

Schedule = Literal["cosine", "one-cycle", "constant"]
Precision = Literal["auto", "bf16", "float32"]


@dataclass(frozen=True)
class KeepSpec:
    """Train on one fixed subset.

    Attributes:
        folder: where `Selection.save` put it.

    Example:
        >>> KeepSpec(folder="runs/half").folder
        'runs/half'
    """

    folder: str


@dataclass(frozen=True)
class RS2Spec:
    """Train on a fresh random subset each epoch (RS2, Okanovic et al. 2023).

    Attributes:
        fraction: share of the readable examples in an epoch, above 0 and at most 1.
        replacement: each epoch drawn by itself, instead of walking through a permutation.
        stratified: the same share of every class.

    Example:
        >>> RS2Spec(0.1).replacement
        False
    """

    fraction: float
    replacement: bool = False
    stratified: bool = False


def _unnamed(default: Any, text: str) -> Any:
    """Give a field that says how a run is carried out, not what it computes: not in the id."""
    return field(default=default, metadata={"help": text, "in_id": False})


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text, "in_id": True})


@dataclass(frozen=True)
class Run:
    """One training run, whole. Every field has a default that changes nothing.

    `steps` over 0 sets the budget in optimizer steps, whatever the size of an epoch; otherwise the
    budget is `epochs`, and a smaller subset takes fewer steps. The schedule is a function of
    progress either way.

    Raises:
        UsageError: a field has a value that cannot be trained with.

    Example:
        >>> Run(model="lenet", epochs=3).id(data="00ff") == Run(model="lenet", epochs=3).id(
        ...     data="00ff"
        ... )
        True
        >>> Run(lr=0.2).changed()
        {'lr': 0.2}
    """

    data: str | None = _option(None, "what `open_data` is to open; None where data is handed over")
    sampler: KeepSpec | RS2Spec | None = _option(None, "what an epoch looks at; None is everything")
    model: str = _option("resnet8", "a name from models.MODELS, torchvision:NAME or module:factory")
    epochs: int = _option(10, "passes over what the sampler draws")
    steps: int = _option(0, "optimizer steps to take instead of epochs; 0 leaves it to epochs")
    batch_size: int = _option(128, "examples in a step")
    lr: float = _option(0.1, "peak learning rate")
    momentum: float = _option(0.9, "momentum of SGD, 0 for none")
    nesterov: bool = _option(True, "Nesterov momentum")
    weight_decay: float = _option(5e-4, "on weight matrices and kernels; never on norms and biases")
    schedule: Schedule = _option("cosine", "the learning rate over progress")
    warmup: float = _option(0.0, "share of the run in which the rate rises to its peak")
    label_smoothing: float = _option(0.0, "share of the target spread evenly over the classes")
    clip_norm: float = _option(0.0, "largest norm of the whole gradient; 0 for no clipping")
    augment: str = _option("auto", "auto, none, or a list such as flip,crop=4,cutout=8")
    image_size: int = _option(
        0, "side of the square pictures trained on; 0 leaves them as they are"
    )
    precision: Precision = _option("auto", "auto takes bf16 where the hardware computes in it")
    seed: int = _option(0, "seed of the weights, the order and the augmentation")
    clean_epochs: tuple[int, ...] = _option(
        (), "epochs (0 is the first) to record a clean pass after"
    )
    compile: bool = _unnamed(False, "torch.compile the network")
    device: str = _unnamed("auto", "auto, cpu, cuda or cuda:N")
    workers: int = _unnamed(0, "processes that read the data, where they are not in memory")

    def __post_init__(self) -> None:
        """Refuse impossible values before any work starts."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("steps", 0), ("workers", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name, low, high in (
            ("momentum", 0.0, 1.0),
            ("warmup", 0.0, 1.0),
            ("label_smoothing", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) < high:
                raise UsageError(
                    f"{name} must be in [{low:g}, {high:g}), not {getattr(self, name)}"
                )
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must not be negative, not {getattr(self, name)}")
        if not self.lr > 0:
            raise UsageError(f"lr must be above 0, not {self.lr}")
        for name, known in (
            ("schedule", ("cosine", "one-cycle", "constant")),
            ("precision", ("auto", "bf16", "float32")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name}={getattr(self, name)!r}; {suggest(getattr(self, name), known)}"
                )
        if isinstance(self.sampler, RS2Spec) and not 0 < self.sampler.fraction <= 1:
            raise UsageError(
                f"rs2 fraction must be above 0 and at most 1, not {self.sampler.fraction}"
            )
        late = [e for e in self.clean_epochs if not 0 <= e < self.epochs]
        if late and not self.steps:
            raise UsageError(
                f"clean_epochs {late} are outside the run's epochs 0..{self.epochs - 1}"
            )

    def changed(self, *, in_id: bool = False) -> dict[str, Any]:
        """Return the fields that differ from their defaults; or with `in_id` those that name it."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            default = f.default if f.default is not MISSING else None
            if value != default and (f.metadata["in_id"] or not in_id):
                out[f.name] = _plain(value)
        return out

    def id(self, *, data: str = "", selection: str = "", teacher: str = "") -> str:
        """Return 16 hex digits that name this run on these data.

        A field at its default leaves no mark, so that a new field does not rename old results.
        `data` and a kept folder count by their fingerprints, not by their paths.

        Args:
            data: fingerprint of the data set.
            selection: fingerprint of the kept subset.
            teacher: fingerprint of the teacher's weights.
        """
        named = self.changed(in_id=True)
        named.pop("data", None)
        if isinstance(self.sampler, KeepSpec):
            named["sampler"] = {"keep": selection or self.sampler.folder}
        of = {"data": data, "selection": selection, "teacher": teacher}
        known = {name: value for name, value in of.items() if value}
        text = json.dumps({"run": named, "of": known}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Run":
        """Build a Run from plain values; an unknown key is refused with the nearest right one.

        Example:
            >>> Run.from_dict({"epochs": 2, "sampler": {"fraction": 0.1}}).sampler
            RS2Spec(fraction=0.1, replacement=False, stratified=False)
        """
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise UsageError(f"run has no field {key!r}; {suggest(key, known)}")
        plain = dict(values)
        if isinstance(plain.get("sampler"), Mapping):
            plain["sampler"] = _sampler(plain["sampler"])
        if "clean_epochs" in plain:
            plain["clean_epochs"] = tuple(plain["clean_epochs"])
        return cls(**plain)


def _sampler(values: Mapping[str, Any]) -> KeepSpec | RS2Spec:
    kind: Any = KeepSpec if "folder" in values else RS2Spec
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(f"sampler has no field {key!r}; {suggest(key, known)}")
    spec: KeepSpec | RS2Spec = kind(**values)
    return spec


def _plain(value: Any) -> Any:
    if isinstance(value, KeepSpec | RS2Spec):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value
