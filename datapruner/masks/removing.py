"""What a round of a lottery removes: the same share each time, or as much as SAP says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import yaml
from torch import Tensor, nn

from ..errors import UsageError
from ..heads import classifier
from ..typed import set_typed, spec_from
from .making import make_masks
from .pq import Reach, sap_count, sap_masks
from .scope import prunable

Within = Literal["network", "layer", "neuron"]

_REACH: dict[Within, Reach] = {"network": "global", "layer": "layer", "neuron": "neuron"}


@dataclass(frozen=True)
class Sap:
    """Remove as much as the PQ index of the weights that are left allows; see `sap_count`.

    Attributes:
        p: the smaller norm of the index.
        q: the larger one.
        eta: slack of the bound, above -1; larger prunes more.
        gamma: factor on the share that goes; above 1 prunes faster.
        beta: the largest share that goes in a round.

    Raises:
        UsageError: a number is out of its range.

    Example:
        >>> Sap(gamma=2).gamma
        2.0
    """

    p: float = 0.5
    q: float = 1.0
    eta: float = 0.0
    gamma: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what `sap_count` would."""
        set_typed(self)
        sap_count([1.0], **asdict(self))


@dataclass(frozen=True)
class Removal:
    """What each round removes of the weights that are left, those of lowest magnitude.

    Attributes:
        rate: the share of them, or `Sap`.
        within: the weights that are ranked together: of the whole network, of each layer, or, in
            SAP, of each neuron (the weights into one output).
        classifier_rate: the classifier's own share; None is the same.

    Example:
        >>> Removal.read("sap:gamma=2", "layer").rate
        Sap(p=0.5, q=1.0, eta=0.0, gamma=2.0, beta=0.9)
    """

    rate: float | Sap
    within: Within = "network"
    classifier_rate: float | None = None

    @classmethod
    def read(
        cls, rate: float | str, within: Within = "network", classifier_rate: float | None = None
    ) -> "Removal":
        """Read a share, `sap`, or `sap` with its numbers after a colon: sap:p=1,q=2.

        Raises:
            UsageError: it is neither, or the three do not go together.
        """
        if within not in _REACH:
            raise UsageError(f"within is network, layer or neuron, not {within!r}")
        if isinstance(rate, str):
            if classifier_rate is not None:
                raise UsageError("SAP finds every rate by itself; leave classifier_rate out")
            return cls(_sap(rate), within)
        if not 0 < rate < 1:
            raise UsageError(f"rate is the share that a round removes, in (0, 1), not {rate}")
        if within == "neuron":
            raise UsageError("within='neuron' is for SAP; give rate='sap', or within='layer'")
        if classifier_rate is not None and (within != "layer" or not 0 <= classifier_rate < 1):
            raise UsageError("classifier_rate is in [0, 1) and needs within='layer'")
        return cls(rate, within, classifier_rate)

    def check(self, model: nn.Module, rounds: int, skip: str) -> None:
        """Refuse what the last round could not remove, before the first one trains.

        Raises:
            UsageError: too little would be left, or the classifier has a rate and is skipped.
        """
        if isinstance(self.rate, Sap):
            return
        if (
            self.classifier_rate is not None
            and _classifier(model) not in prunable(model, skip).names
        ):
            raise UsageError(
                f"the classifier has a rate of its own, but skip={skip!r} leaves it alone; give one"
            )
        try:
            self.masks(model, whole(model, skip), rounds, skip)
        except UsageError as error:
            raise UsageError(
                f"after {rounds} rounds {(1 - self.rate) ** rounds:.2g} of the weights would be "
                "left, and each output keeps at least one; take fewer rounds or a lower rate"
            ) from error

    def masks(
        self, model: nn.Module, before: Mapping[str, Tensor], number: int, skip: str
    ) -> dict[str, Tensor]:
        """Return the masks of a round: those of the one before, less what goes now.

        Args:
            model: trained under the masks before.
            before: these masks.
            number: of the round; a share is of the whole network's weights, so that no rounding
                adds up: (1 - rate)^number are left.
            skip: layers left alone.
        """
        if isinstance(self.rate, Sap):
            return sap_masks(model, before, reach=_REACH[self.within], **asdict(self.rate))
        allocation = "global" if self.within == "network" else "uniform"
        if self.classifier_rate is not None:
            allocation = f"{_classifier(model)}={(1 - self.classifier_rate) ** number}"
        density = (1 - self.rate) ** number
        return make_masks(model, density=density, allocation=allocation, skip=skip, within=before)


def whole(model: nn.Module, skip: str) -> dict[str, Tensor]:
    """Return masks that keep every weight that may go.

    Example:
        >>> whole(nn.Linear(2, 1), "")
        {'weight': tensor([[True, True]])}
    """
    names = prunable(model, skip).names
    return {n: torch.ones_like(model.get_parameter(n), dtype=torch.bool) for n in names}


def _classifier(model: nn.Module) -> str:
    weight = classifier(model).weight
    return next(name for name, parameter in model.named_parameters() if parameter is weight)


def _sap(word: str) -> Sap:
    name, _, rest = word.partition(":")
    parts = [part.partition("=") for part in filter(None, rest.split(","))]
    if name != "sap" or not all(equals for _, equals, _ in parts):
        raise UsageError(
            f"rate {word!r} is not known; give the share that a round removes, such as 0.2, or "
            "sap, with numbers of its own as in sap:gamma=2"
        )
    return spec_from(Sap, {key: yaml.safe_load(value) for key, _, value in parts}, "sap")
