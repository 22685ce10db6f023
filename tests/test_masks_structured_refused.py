"""What the structured part refuses, each by one line that says what to do."""

import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import datapruner as dp
from datapruner.masks import export
from datapruner.masks.blocks import residual_blocks
from datapruner.masks.channels import channel, layer, residual
from datapruner.masks.costs import cost, latency
from datapruner.masks.coupling import coupled_channels
from datapruner.masks.export import exported, to_onnx
from datapruner.masks.removal import remove
from datapruner.masks.units import Scope

X = torch.zeros(1, 4)


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


def refused(match: str, kind: type[Exception] = dp.UsageError):
    return pytest.raises(kind, match=rf"^[^\n]*{match}[^\n]*$")


class Branches(nn.Module):
    """Its path depends on the numbers, which no trace can follow."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else self.b(x)


class Dropping(nn.Module):
    """Asks for its mode in its own code, which a trace would hold fast."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(x + nn.functional.dropout(self.a(x), training=self.training))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu())


def test_without_torch_pruning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with refused(r"pip install 'datapruner\[structured\]'", dp.PrunerError):
        channel(Scope(chain(), ("0.weight",), X))
    with refused(r"pip install 'datapruner\[structured\]'", dp.PrunerError):
        remove(chain(), {}, X)


def test_a_pattern_that_has_to_see_the_network_run():
    with refused("give an example or a loader"):
        channel(Scope(chain(), ("0.weight",)))


def test_nothing_that_may_go():
    pytest.importorskip("torch_pruning")
    with refused("skip less"):
        channel(Scope(chain(), ("2.weight",), X))
    for pattern in (residual, layer):
        with refused("no residual block"):
            pattern(Scope(chain(), ("0.weight",), X))
    model = dp.make_model("resnet8", 10, (3, 8, 8))
    with refused("no residual block whose weights may be ranked"):
        residual(Scope(model, ("fc.weight",)))


def test_networks_that_cannot_be_followed():
    pytest.importorskip("torch_pruning")
    with refused("give a batch the network takes", dp.PrunerError):
        coupled_channels(chain(), torch.zeros(1, 5))
    with refused("Branches.*cannot be traced by|torch.fx cannot trace Branches"):
        residual_blocks(Branches())
    with refused("torch.export cannot follow Branches", dp.PrunerError):
        exported(Branches(), X)
    with refused("give a batch it takes", dp.PrunerError):
        cost(chain(), torch.zeros(1, 5))


def test_a_mode_that_a_trace_would_hold_fast():
    """The pattern refuses it; removal leaves the branch, narrows its layer, and agrees."""
    pytest.importorskip("torch_pruning")
    model = Dropping()
    with refused("use a module"):
        residual_blocks(model)
    masks = {n: torch.zeros_like(p).bool() for n, p in model.a.named_parameters("a")}
    assert type(remove(model, masks, X)) is Dropping


def test_shared_parameters_are_no_units():
    pytest.importorskip("torch_pruning")
    model = Shared()
    assert all(
        side.name.startswith(("c", "b.bias", "a.bias")) or "weight" not in side.name
        for group in coupled_channels(model, X)
        for side in group.sides
    )


@pytest.mark.parametrize(
    "wrap", [parametrizations.spectral_norm, lambda m: prune.random_unstructured(m, "weight", 0.5)]
)
def test_weights_that_are_computed_from_others(wrap):
    pytest.importorskip("torch_pruning")
    model = chain()
    wrap(model[0])
    with refused("make it plain first"):
        coupled_channels(model, X)


def test_masks_of_another_network():
    with refused("mask of 5.weight: the network has no parameter of that name"):
        remove(chain(), {"5.weight": torch.ones(1, dtype=torch.bool)}, X)
    with refused(r"mask of 0.weight is torch.bool \(3, 5\); it must be bool \(3, 4\)"):
        remove(chain(), {"0.weight": torch.ones(3, 5, dtype=torch.bool)}, X)
    with refused("torch.float32.*it must be bool"):
        cost(chain(), X, {"0.weight": torch.ones(3, 4)})


def test_a_network_that_gives_nan_is_never_taken_for_equal():
    pytest.importorskip("torch_pruning")
    model = chain()
    model[2].bias.data[0] = float("nan")
    with refused("computes something else", dp.PrunerError):
        remove(model, {}, X)


def test_nothing_to_time():
    with refused("time at least one pair"):
        latency(chain(), chain(), X, pairs=0)


def test_without_onnx(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with refused(r"onnx and onnxscript.*pip install 'datapruner\[export\]'", dp.PrunerError):
        to_onnx(chain(), X, tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())
