"""Any mixture of layers that couple channels: removing equals masking, or is left alone."""

import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from structured_networks import active, drawn, lively, network, outputs, scope
from torch import nn

from datapruner.masks.channels import channel
from datapruner.masks.coupling import coupled_channels
from datapruner.masks.removal import masked_copy, remove
from datapruner.masks.units import spread
from datapruner.networks import parameter_count

pytest.importorskip("torch_pruning", reason="the structured extra is not installed")


class Mixed(nn.Module):
    """A stem and then layers of every kind that couples channels, in a drawn order."""

    def __init__(self, kinds: list[str], width: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
        self.kinds, self.parts = kinds, nn.ModuleList()
        for kind in kinds:
            after, groups = width, {"depthwise": width, "grouped": 2}.get(kind, 1)
            if kind == "concat":
                after = 4
            conv = nn.Conv2d(width, after, 3, padding=1, groups=groups, bias=kind != "skip")
            self.parts.append(nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
            width = width + after if kind == "concat" else after
        self.last = nn.Conv2d(width, 4, 1)
        self.fc = nn.Linear(4 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for kind, part in zip(self.kinds, self.parts, strict=True):
            y = part(x)
            x = x + y if kind == "skip" else torch.cat([x, y], 1) if kind == "concat" else y
        return self.fc(self.last(x).relu().flatten(1))


@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # no shrinking
@example(["concat", "grouped"], 4, 0.5, 0)
@given(
    st.lists(st.sampled_from(["plain", "skip", "depthwise", "grouped", "concat"]), max_size=4),
    st.sampled_from([4, 6]),
    st.floats(0.1, 0.9),
    st.integers(0, 99),
)
def test_any_mixture_of_couplings(kinds, width, share, seed):
    model, x = lively(Mixed(kinds, width)), torch.randn(2, 3, 4, 4)
    groups = channel(scope(model, x[:1]))
    masks = spread(groups, drawn(groups, share, seed), model)
    small = remove(model, masks, x)
    wanted = outputs(masked_copy(model, masks), x)
    torch.testing.assert_close(outputs(small, x), wanted, rtol=1e-4, atol=1e-5)
    assert parameter_count(small) == active(model, masks)


class Joined(nn.Module):
    """Two branches flattened together: torch-pruning loses which column reads which channel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(8 * 4, 2)

    def forward(self, x):
        x = self.first(x).relu()
        return self.fc(torch.cat([self.a(x), self.b(x)], 1).flatten(1))


def test_what_torch_pruning_misreads_is_left_alone():
    model, x = Joined(), torch.randn(2, 3, 2, 2)
    (group,) = channel(scope(model, x[:1]))
    assert group.name == "first.weight"
    masks = spread([group], [torch.tensor([True, False, True, False])], model)
    assert remove(model, masks, x).first.out_channels == 2


def test_tracing_leaves_the_network_as_it_was():
    model, x = network("resnet8", 16)
    model.train()
    model.stem.conv.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    coupled_channels(model, x)
    assert model.training
    assert not model.stem.conv.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
