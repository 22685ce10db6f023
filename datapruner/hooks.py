"""What `fit` calls besides the network, the loader and the sampler: observers and weight masks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from .loaders import Batch, Loader
from .losses import Loss
from .run import Run

if TYPE_CHECKING:
    from .samplers import Sampler

Progress = Callable[[str, int, int], None]


class Observer(Protocol):
    """What listens to training: recorders do."""

    def observe(self, epoch: int, batch: Batch, logits: Tensor, losses: Tensor) -> None:
        """See a batch before its step: logits (b, C) and unweighted losses (b,), detached."""
        ...

    def end_epoch(self, epoch: int) -> None:
        """See the network after the epoch."""
        ...

    def resume(self, epoch: int) -> None:
        """Go on before this epoch, the earlier ones having been seen by a run that was killed."""
        ...


class Masking(Protocol):
    """Weight masks of one training run under way.

    Progress is the share of the run's budget that is used up, in [0, 1].
    """

    active: int  # weights not masked, of those that masks may cover or not: all the network has

    def begin(self) -> None:
        """Start from untouched weights; a run that goes on gets `load_state_dict` instead."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, C) of the network as it is masked now."""
        ...

    def before_step(self, progress: float) -> None:
        """See the gradients of a batch, dense, and change what the optimizer will see of them."""
        ...

    def after_step(self, progress: float) -> None:
        """Hold the masks after the optimizer's step, and change them where the schedule says so."""
        ...

    def finish(self) -> None:
        """Leave plain tensors, masked weights exactly 0; called once, at the end of the run."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and JSON values that suffice to go on after an epoch."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up that state again, on a network whose weights are already restored."""
        ...


class Masks(Protocol):
    """What `fit(masks=...)` takes: it makes the masks of one training run."""

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
    ) -> Masking:
        """Return the masks of this run; the weights are not touched before `begin`.

        What needs data reads `loader` over `sampler.draw(0)`: a pruned subset is calibration data.

        Raises:
            UsageError: they do not fit the network or the run.
        """
        ...
