"""Masks found by an earlier run, held through another; and what masks take of the time."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import Refused
from .hooks import Masking, Masks
from .loaders import Loader
from .losses import Loss
from .run import Run

if TYPE_CHECKING:
    from .samplers import Sampler


def masks_of_zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return which weights of kernels and matrices are not 0: the masks that a run left.

    Example:
        >>> masks_of_zeros({"fc.weight": torch.tensor([[0.0, 2.0]]), "fc.bias": torch.zeros(1)})
        {'fc.weight': tensor([[False,  True]])}
    """
    return {n: w != 0 for n, w in weights.items() if w.ndim > 1 and w.is_floating_point()}


class HeldMasks:
    """Hold masks that are known from the first step to the last: `fit(masks=HeldMasks(...))`.

    Args:
        masks: parameter -> True where it is kept; what is not named is not pruned.

    Example:
        >>> import datapruner as dp
        >>> data, run = dp.open_data("digits"), dp.Run(model="mlp", epochs=1)
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> mask = torch.zeros(10, 100, dtype=torch.bool)
        >>> mask[:, ::2] = True
        >>> masks = HeldMasks({"fc3.weight": mask})
        >>> history = dp.fit(model, dp.TensorLoader(data), None, run, masks=masks)
        >>> int(model.fc3.weight.count_nonzero()), history.epochs[0].active
        (500, 50110.0)
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks = dict(masks)

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
    ) -> "_Held":
        """Return the masks of this run.

        Raises:
            Refused: they are of another network.
        """
        parameters = dict(model.named_parameters())
        for name, mask in self.masks.items():
            if name not in parameters or parameters[name].shape != mask.shape:
                raise Refused(f"the mask of {name} is of another network than this one")
        return _Held(model, optimizer, {n: m.to(device) for n, m in self.masks.items()})


class _Held:
    """Masks of one run, which never change."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, masks: dict[str, Tensor]
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.pairs = [(model.get_parameter(name), mask) for name, mask in masks.items()]
        gone = sum(mask.numel() - int(mask.sum()) for mask in masks.values())
        self.active = sum(p.numel() for p in model.parameters()) - gone

    def begin(self) -> None:
        self._hold()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    @torch.no_grad()
    def before_step(self, progress: float) -> None:
        for parameter, mask in self.pairs:
            if parameter.grad is not None:
                parameter.grad.mul_(mask)

    def after_step(self, progress: float) -> None:
        self._hold()

    def finish(self) -> None:
        self._hold()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._hold()

    @torch.no_grad()
    def _hold(self) -> None:
        for parameter, mask in self.pairs:
            parameter.mul_(mask)


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
