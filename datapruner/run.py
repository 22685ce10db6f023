"""Run: one frozen value that says everything about a training run, and names it."""

import hashlib
import json
import math
import operator
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

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

    def __post_init__(self) -> None:
        """Refuse what is no path."""
        _set_typed(self)


@dataclass(frozen=True)
class RS2Spec:
    """Train on a fresh random subset each epoch (RS2, Okanovic et al. 2023).

    Attributes:
        fraction: share of the readable examples in an epoch, above 0 and at most 1.
        replacement: each epoch drawn by itself, instead of walking through a permutation.
        stratified: the same share of every class.

    Raises:
        UsageError: the fraction is none.

    Example:
        >>> RS2Spec(0.1).replacement
        False
    """

    fraction: float
    replacement: bool = False
    stratified: bool = False

    def __post_init__(self) -> None:
        """Refuse a fraction that is none."""
        _set_typed(self)
        if not 0 < self.fraction <= 1:
            raise UsageError(f"rs2 fraction must be above 0 and at most 1, not {self.fraction}")


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
        _set_typed(self)
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("momentum", "warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if not self.lr > 0:
            raise UsageError(f"lr must be above 0, not {self.lr}")
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
        return cls(**plain)


def _sampler(values: Mapping[str, Any]) -> KeepSpec | RS2Spec:
    kind: Any = KeepSpec if "folder" in values else RS2Spec
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            raise UsageError(f"sampler has no field {key!r}; {suggest(key, known)}")
    if known[0] not in values:
        raise UsageError("sampler needs a field 'folder' (a kept subset) or 'fraction' (RS2)")
    spec: KeepSpec | RS2Spec = kind(**values)
    return spec


def _plain(value: Any) -> Any:
    """Return a field for JSON; a spec without what is at its default, as in `changed`."""
    if is_dataclass(value):
        own = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: v for f, v in own if v != f.default}
    return list(value) if isinstance(value, tuple) else value


def _set_typed(spec: Any) -> None:
    """Bring every field to its declared type, so that equal values have equal ids."""
    for f in fields(spec):
        object.__setattr__(spec, f.name, _typed(f.name, f.type, getattr(spec, f.name)))


def _typed(name: str, kind: Any, value: Any) -> Any:
    """Return the value as the type says, a whole number from numpy as an int; or refuse it."""
    allowed = get_args(kind)
    if value is None and type(None) in allowed:
        return None
    if str in (kind, *allowed) and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and hasattr(value, "__index__") and not isinstance(value, bool):
        return operator.index(value)
    if kind is float and hasattr(value, "__float__") and not isinstance(value, bool):
        if math.isfinite(number := float(value)):
            return number
    elif kind == tuple[int, ...]:
        if isinstance(value, list | tuple):
            return tuple(_typed(name, int, one) for one in value)
    elif value in allowed or isinstance(value, tuple(a for a in allowed if isinstance(a, type))):
        return value
    words = [a for a in allowed if isinstance(a, str)]
    if words and isinstance(value, str):
        raise UsageError(f"{name}={value!r}; {suggest(value, words)}")
    names = [str(getattr(a, "__name__", a)).removesuffix("Type") for a in allowed]
    what = _KINDS.get(kind, " or ".join(names))
    raise UsageError(f"{name} must be {what}, not {value!r}")


_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    str | None: "text",
    tuple[int, ...]: "a list of whole numbers",
}
_LEAST = {
    "epochs": 1,
    "steps": 0,
    "batch_size": 1,
    "weight_decay": 0,
    "clip_norm": 0,
    "image_size": 0,
    "workers": 0,
}
