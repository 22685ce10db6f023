"""Run: one frozen value that says everything about a training run, and names it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from .distill_specs import DistillSpec
from .errors import UsageError, suggest
from .sampler_specs import ByScoreSpec, InfoBatchSpec, sampler_from
from .sampler_specs import KeepSpec as KeepSpec
from .sampler_specs import RS2Spec as RS2Spec
from .typed import set_typed, spec_from
from .weight_specs import WeightPruning

Schedule = Literal["cosine", "one-cycle", "constant"]
Precision = Literal["auto", "bf16", "float32"]


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
    sampler: KeepSpec | RS2Spec | InfoBatchSpec | ByScoreSpec | None = _option(
        None, "what an epoch looks at; None is everything"
    )
    distill: DistillSpec | None = _option(
        None, "what the network learns from beside the labels; None is nothing"
    )
    weights: WeightPruning | None = _option(
        None, "how weights are pruned in training; None leaves them all"
    )
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
        set_typed(self)
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("momentum", "warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if not self.lr > 0:
            raise UsageError(f"lr must be above 0, not {self.lr}")
        if self.steps and isinstance(self.sampler, RS2Spec) and self.sampler.final is not None:
            raise UsageError("a share that changes over the epochs needs epochs; leave steps at 0")
        ends = math.inf if self.steps else self.epochs  # steps: known once the data are
        if late := [e for e in self.clean_epochs if not 0 <= e < ends]:
            last = "" if self.steps else f", {self.epochs - 1} the last"
            raise UsageError(f"clean_epochs {late} are not in the run; 0 is the first epoch{last}")

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
        `data`, a kept folder and a teacher count by their fingerprints, not by their paths.

        Args:
            data: fingerprint of the data set.
            selection: fingerprint of the kept subset.
            teacher: fingerprint of the teacher's weights.
        """
        named = self.changed(in_id=True)
        named.pop("data", None)
        if isinstance(self.sampler, KeepSpec):
            named["sampler"] = {"keep": selection or self.sampler.folder}
        if self.distill is not None and teacher:
            del named["distill"]["teacher"]
        of = {"data": data, "selection": selection, "teacher": teacher}
        known = {name: value for name, value in of.items() if value}
        text = json.dumps({"run": named, "of": known}, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Run":
        """Build a Run from plain values; an unknown key is refused with the nearest right one.

        Example:
            >>> Run.from_dict({"epochs": 2, "sampler": {"fraction": 0.1}}).sampler
            RS2Spec(fraction=0.1, replacement=False, stratified=False, final=None)
        """
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise UsageError(f"run has no field {key!r}; {suggest(key, known)}")
        plain = dict(values)
        if isinstance(plain.get("sampler"), Mapping):
            plain["sampler"] = sampler_from(plain["sampler"])
        for name, kind in (("distill", DistillSpec), ("weights", WeightPruning)):
            if plain.get(name) is not None:
                plain[name] = spec_from(kind, plain[name], name)
        return cls(**plain)


def _plain(value: Any) -> Any:
    """Return a field for JSON; a spec without what is at its default, as in `changed`."""
    if is_dataclass(value):
        own = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: v for f, v in own if v != f.default}
    return list(value) if isinstance(value, tuple) else value


_LEAST = {
    "epochs": 1,
    "steps": 0,
    "batch_size": 1,
    "weight_decay": 0,
    "clip_norm": 0,
    "image_size": 0,
    "workers": 0,
}
