"""Channels, blocks and layers pruned inside `fit`: they stay gone, and a resumed run ends alike."""

from functools import cache

import pytest
import torch
from masked_runs import Kill, Killed, fitted
from structured_networks import outputs
from torch import nn

import datapruner as dp
from datapruner import UsageError
from datapruner.masks import remove
from datapruner.networks import parameter_count

pytest.importorskip("torch_pruning", reason="the structured extra is not installed")

RUN = dp.Run(epochs=4, lr=0.1, momentum=0.9, weight_decay=0.05, batch_size=240, augment="none")


class Block(nn.Module):
    """Two convolutions, with a projection on the skip where the width changes."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(wide, out, 3, padding=1), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out)
        self.skip = nn.Conv2d(wide, out, 1) if wide != out else nn.Identity()

    def forward(self, x):
        body = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(body + self.skip(x))


def network() -> nn.Module:
    torch.manual_seed(1)
    blocks = [Block(6, 6), Block(6, 8), Block(8, 8), Block(8, 8)]
    stem = [nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


class Watched:
    """Masks whose state a test can see while `fit` trains under them; also an observer."""

    def __init__(self, weights: dp.WeightPruning) -> None:
        self.weights = weights
        self.densities: list[float] = []

    def attach(self, model, optimizer, **options):
        self.model, self.optimizer = model, optimizer
        self.masking = self.weights.attach(model, optimizer, **options)
        return self.masking

    def observe(self, epoch, batch, logits, losses):
        """Look at what the last step left: weights and momentum."""
        for name, mask in self.masking.masks.items():
            parameter = self.model.get_parameter(name)
            assert (parameter[~mask] == 0).all(), name
            if "momentum_buffer" in self.optimizer.state[parameter]:
                assert (self.optimizer.state[parameter]["momentum_buffer"][~mask] == 0).all(), name
        self.densities.append(self.masking.active / self.masking.held.whole)

    def end_epoch(self, epoch):
        pass

    def resume(self, epoch):
        pass


@pytest.fixture(scope="module")
def digits() -> dp.Data:
    return dp.open_data("digits")


WAYS = {
    f"{pattern} {schedule}": dp.WeightPruning(
        0.5, pattern=pattern, schedule=schedule, allocation="uniform", every=every, skip="first"
    )
    for pattern in ("channel", "residual", "layer")
    for schedule, every in (("before", None), ("after", None), ("cubic", 0.05))
}
LONG = [way for way in WAYS if "after" not in way]


@cache
def trained(way: str) -> tuple[nn.Module, dp.History, Watched]:
    watched = Watched(WAYS[way])
    data = dp.open_data("digits")
    return *fitted(data, watched, run=RUN, model=network(), observers=[watched]), watched


@pytest.mark.parametrize("way", WAYS)
def test_what_goes_stays_gone_and_can_be_taken_out(way, digits):
    model, _, watched = trained(way)
    watched.observe(0, None, None, None)
    assert all(a >= b for a, b in zip(watched.densities, watched.densities[1:], strict=False))
    assert (watched.densities[0] == 1) == (WAYS[way].schedule != "before")
    kept = [units.float().mean().item() for units in watched.masking.kept]
    assert kept == [0.5] * len(kept)
    masks = watched.masking.masks
    assert {mask.ndim for mask in masks.values()} >= {1, 4}, "biases and norms go with kernels"
    x = torch.rand(5, *digits.shape)
    small = remove(model, masks, x)
    torch.testing.assert_close(outputs(small, x), outputs(model, x), rtol=1e-5, atol=1e-5)
    assert parameter_count(small) <= watched.masking.active < parameter_count(model)


@pytest.mark.parametrize("way", LONG)
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(way, digits, tmp_path):
    whole, history, _ = trained(way)
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        fitted(digits, WAYS[way], run=RUN, model=network(), checkpoint=file, observers=[Kill()])
    watched = Watched(WAYS[way])
    again, resumed = fitted(
        digits, watched, run=RUN, model=network(), checkpoint=file, observers=[watched]
    )
    assert len(watched.densities) == 6 * 2
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert [e.active for e in resumed.epochs] == [e.active for e in history.epochs]
    assert [e.train_loss for e in resumed.epochs] == [e.train_loss for e in history.epochs]


@pytest.mark.parametrize("schedule", ["rigl", "set", "staircase"])
@pytest.mark.parametrize("pattern", ["channel", "residual", "layer"])
def test_what_gets_no_gradient_is_not_grown(pattern, schedule, digits):
    weights = dp.WeightPruning(0.5, pattern=pattern, schedule=schedule)
    model = network()
    for refused in (lambda: weights.check(model), lambda: fitted(digits, weights, model=model)):
        with pytest.raises(UsageError, match=f"{schedule!r}.*cubic") as told:
            refused()
        assert "\n" not in str(told.value)
