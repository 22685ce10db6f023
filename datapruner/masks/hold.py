"""Holding masks on a network in place; and GivenMasks, for training under masks that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Refused, UsageError
from ..loaders import Loader
from ..losses import Loss
from ..run import Run
from ..samplers import Sampler


class Held:
    """Masks held on the parameters of a network, which stay plain tensors.

    The gradient of a masked weight is cleared before the optimizer's step, the weight after it, and
    what the optimizer remembers of it when the masks are taken: so no momentum, no Adam and no
    weight decay revives it.

    Attributes:
        masks: by parameter, True is kept.
        active: parameters of the network that no mask holds at 0.

    Example:
        >>> layer = nn.Linear(1, 2)
        >>> held = Held(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
        >>> held.take({"weight": torch.tensor([[True], [False]])})
        >>> held.apply()
        >>> held.active, layer.weight[1].item()
        (3, 0.0)
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.whole = sum(p.numel() for p in model.parameters())
        self.active = self.whole
        self.masks: dict[str, Tensor] = {}
        self._parameters: list[nn.Parameter] = []  # of which something is masked
        self._factors: list[Tensor] = []
        self._cleared = False  # gradients, before this step

    def take(self, masks: Mapping[str, Tensor]) -> None:
        """Hold these masks from now on; weights are not touched yet."""
        self.masks = dict(masks)
        self._parameters, self._factors, gone = [], [], 0
        for name, mask in self.masks.items():
            missing = mask.numel() - int(mask.sum())
            if missing:
                parameter = self.model.get_parameter(name)
                self._parameters.append(parameter)
                self._factors.append(torch.empty_like(parameter).copy_(mask))
            gone += missing
        self.active = self.whole - gone

    @torch.no_grad()
    def clear(self) -> None:
        """Put the gradients of masked weights to 0, before the optimizer's step."""
        pairs = zip(self._parameters, self._factors, strict=True)
        graded = [(p.grad, factor) for p, factor in pairs if p.grad is not None]
        _multiply([grad for grad, _ in graded], [factor for _, factor in graded])
        self._cleared = True

    @torch.no_grad()
    def hold(self) -> None:
        """Put masked weights to 0, after the optimizer's step."""
        _multiply(self._parameters, self._factors)
        if not self._cleared:
            self._forget()
        self._cleared = False

    @torch.no_grad()
    def apply(self) -> None:
        """Put masked weights to 0 after a change, and what the optimizer remembers of them."""
        _multiply(self._parameters, self._factors)
        self._forget()

    def settle(self) -> None:
        """Make masked weights exactly 0 (of either sign and of infinity too)."""
        apply_masks(self.model, self.masks)

    def _forget(self) -> None:
        for parameter, factor in zip(self._parameters, self._factors, strict=True):
            for value in self.optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.mul_(factor)


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """Train under masks that are there already: `fit(masks=GivenMasks(masks))`.

    Attributes:
        masks: by parameter, True is kept.

    Raises:
        UsageError: when it is attached, a mask is of no parameter or of another shape.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> masks = dp.masks.make_masks(model, density=0.1, criterion="random", allocation="erk")
        >>> run = dp.Run(epochs=1)
        >>> history = dp.fit(model, dp.TensorLoader(data), None, run, masks=GivenMasks(masks))
        >>> bool((model.fc1.weight[~masks["fc1.weight"]] == 0).all())
        True
    """

    masks: Mapping[str, Tensor]

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
    ) -> "Holding":
        """Return the masks of one run, as `fit` asks for them."""
        masks = checked(model, self.masks)
        return Holding(Held(model, optimizer), {n: m.to(device) for n, m in masks.items()})


class Holding:
    """Masks that stay as they are, while `fit` trains.

    Attributes:
        active: parameters of the network that no mask holds at 0.
    """

    def __init__(self, held: Held, masks: Mapping[str, Tensor]) -> None:
        self.held = held
        held.take(masks)
        self.active = held.active

    def begin(self) -> None:
        """Put masked weights to 0."""
        self.held.apply()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (b, C)."""
        logits: Tensor = self.held.model(x)
        return logits

    def before_step(self, progress: float) -> None:
        """Clear the gradients of masked weights."""
        self.held.clear()

    def after_step(self, progress: float) -> None:
        """Hold the masks."""
        self.held.hold()

    def finish(self) -> None:
        """Make masked weights exactly 0."""
        self.held.settle()

    def state_dict(self) -> dict[str, Any]:
        """Return the masks, which the weights do not say: a weight may be 0 by itself."""
        return dict(self.held.masks)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up masks again.

        Raises:
            Refused: they are not the masks that are held here.
        """
        own = {name for name, _ in self.held.model.named_parameters()}
        there = {n: m for n, m in state.items() if n in own and isinstance(m, Tensor)}
        masks = self.held.masks
        if there.keys() != masks.keys() or any(
            not torch.equal(there[n].to(m.device), m) for n, m in masks.items()
        ):
            raise Refused(
                "the masks given are not those that this run began with; give the same ones, or "
                "start again"
            )


def checked(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks, each on its parameter's device.

    Raises:
        UsageError: a mask is of no parameter, not bool, or of another shape.

    Example:
        >>> checked(nn.Linear(1, 1), {"weight": torch.tensor([[True]])})
        {'weight': tensor([[True]])}
    """
    own, out = dict(model.named_parameters()), {}
    for name, mask in masks.items():
        if name not in own:
            raise UsageError(f"mask of {name}: the network has no parameter of that name")
        if mask.dtype != torch.bool or mask.shape != own[name].shape:
            raise UsageError(
                f"mask of {name} is {mask.dtype} {tuple(mask.shape)}; it must be bool "
                f"{tuple(own[name].shape)}"
            )
        out[name] = mask.to(own[name].device)
    return out


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Put the weights that masks leave out to 0, in place.

    Raises:
        UsageError: a mask is of no parameter, or of another shape.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> apply_masks(layer, {"weight": torch.tensor([[False]])})
        >>> layer.weight.item()
        0.0
    """
    with torch.no_grad():
        for name, mask in checked(model, masks).items():
            model.get_parameter(name).masked_fill_(~mask, 0)


def _multiply(tensors: Sequence[Tensor], factors: Sequence[Tensor]) -> None:
    if tensors:
        torch._foreach_mul_([*tensors], [*factors])  # type: ignore[arg-type] # the stub: numbers
