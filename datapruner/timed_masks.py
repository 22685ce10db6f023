"""What masks take of a run's time."""

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .hooks import Masking, Masks
from .loaders import Loader
from .losses import Loss
from .run import Run

if TYPE_CHECKING:
    from .samplers import Sampler


class TimedMasks:
    """Other masks, with the seconds that they take.

    Args:
        masks: any.

    Attributes:
        seconds: spent on masks so far.
        in_steps: those of them that lie within the training steps.
    """

    def __init__(self, masks: Masks) -> None:
        self.masks, self.seconds, self.in_steps = masks, 0.0, 0.0

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        loader: Loader,
        sampler: "Sampler",
        loss: Loss,
        run: Run,
        device: torch.device,
    ) -> "_Timed":
        """Return the masks of this run, timed."""
        began = time.perf_counter()
        masking = self.masks.attach(
            model, optimizer, loader=loader, sampler=sampler, loss=loss, run=run, device=device
        )
        self.seconds += time.perf_counter() - began
        return _Timed(masking, self)


class _Timed:
    """The masks of one run, each call timed but the forward pass."""

    def __init__(self, masking: Masking, clock: TimedMasks) -> None:
        self.masking, self.clock = masking, clock
        self.active = masking.active

    def begin(self) -> None:
        began = time.perf_counter()
        self.masking.begin()
        self.active = self.masking.active
        self.clock.seconds += time.perf_counter() - began

    def forward(self, x: Tensor) -> Tensor:
        return self.masking.forward(x)

    def before_step(self, progress: float) -> None:
        began = time.perf_counter()
        self.masking.before_step(progress)
        self._within(began)

    def after_step(self, progress: float) -> None:
        began = time.perf_counter()
        self.masking.after_step(progress)
        self._within(began)

    def finish(self) -> None:
        began = time.perf_counter()
        self.masking.finish()
        self.clock.seconds += time.perf_counter() - began

    def state_dict(self) -> dict[str, Any]:
        return self.masking.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.masking.load_state_dict(state)
        self.active = self.masking.active

    def _within(self, began: float) -> None:
        self.active = self.masking.active
        took = time.perf_counter() - began
        self.clock.seconds += took
        self.clock.in_steps += took
