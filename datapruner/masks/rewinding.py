"""What a lottery's survivors are put back to, and keeping that state as it goes by."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..loaders import Loader
from ..losses import Loss
from ..run import Run
from ..samplers import Sampler
from .hold import Held, Holding


@dataclass(frozen=True)
class Rewind:
    """What the weights that survive a round are put back to.

    Attributes:
        kind: `weights` of an earlier step, `rate` (the weights stay, the learning rate starts
            again), or `none` (the weights stay and train on at a hundredth of the peak rate).
        share: of the run, for weights.
        steps: for weights, where they are counted.

    Example:
        >>> Rewind.read("2%"), Rewind.read("500steps").steps
        (Rewind(kind='weights', share=0.02, steps=0), 500)
    """

    kind: Literal["weights", "rate", "none"] = "weights"
    share: float = 0.0
    steps: int = 0

    @classmethod
    def read(cls, word: str) -> "Rewind":
        """Read 0, 2%, 500steps, lr or none; a number needs its unit.

        Raises:
            UsageError: it is none of these.
        """
        if word in ("lr", "none"):
            return cls("rate" if word == "lr" else "none")
        if word == "0":
            return cls()
        if found := re.fullmatch(r"(\d+(?:\.\d+)?)%", word):
            share = float(found[1]) / 100
            if share < 1:
                return cls(share=share)
        if found := re.fullmatch(r"(\d+) ?steps?", word):
            return cls(steps=int(found[1]))
        raise UsageError(
            f"rewind {word!r} is not known; write 0, a share of the run such as 2%, steps such as "
            "500steps, lr to rewind the learning rate alone, or none"
        )


class Capturing:
    """Masks that stay, and a copy of the weights at a step of the run.

    Attributes:
        masks: by parameter, True is kept.
        plan: the step; that of plain `Rewind()` is none.
        state: the weights and buffers of that step, empty before it.
        taken: the step.

    Example:
        >>> Capturing({}, Rewind.read("2%")).wanted
        True
    """

    def __init__(self, masks: Mapping[str, Tensor], plan: Rewind) -> None:
        self.masks, self.plan = masks, plan
        self.wanted = bool(plan.share or plan.steps)
        self.state: dict[str, Tensor] = {}
        self.taken = 0

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        loader: Loader,
        sampler: Sampler,
        loss: Loss,
        run: Run,
        device: torch.device,
    ) -> "_Watching":
        """Return the masks of one run, as `fit` asks for them."""
        masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return _Watching(Held(model, optimizer), masks, self)


class _Watching(Holding):
    def __init__(self, held: Held, masks: Mapping[str, Tensor], wanted: Capturing) -> None:
        super().__init__(held, masks)
        self.into, self.steps = wanted, 0

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.steps += 1
        plan = self.into.plan
        due = self.steps >= plan.steps if plan.steps else progress >= plan.share - 1e-9
        if self.into.wanted and due and not self.into.state:
            model = self.held.model
            self.into.state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            self.into.taken = self.steps

    def state_dict(self) -> dict[str, Any]:
        kept = {f"at.{name}": tensor for name, tensor in self.into.state.items()}
        return {**super().state_dict(), **kept, "steps": self.steps, "taken": self.into.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.into.state = {k.removeprefix("at."): v for k, v in state.items() if k[:3] == "at."}
        self.steps, self.into.taken = int(state["steps"]), int(state["taken"])
