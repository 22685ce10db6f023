"""Channels, residual blocks and layers: what is coupled, and that removing equals masking."""

from copy import deepcopy

import pytest
import torch
from structured_networks import active, drawn, lively, network, outputs, scope
from torch import nn

import datapruner as dp
from datapruner.masks.blocks import residual_blocks
from datapruner.masks.channels import channel, layer, residual
from datapruner.masks.removal import masked_copy, remove
from datapruner.masks.units import Scope, spread
from datapruner.networks import parameter_count

pytest.importorskip("torch_pruning", reason="the structured extra is not installed")

OURS = ["mlp", "lenet", "resnet8", "resnet20", "resnet9"]
THEIRS = ["resnet18", "mobilenet_v2", "squeezenet1_1"]
HEAVY = [
    "resnext50_32x4d",
    "mobilenet_v3_small",
    "vgg11_bn",
    "vit_b_16",
    "densenet121",
    "convnext_tiny",
    "efficientnet_b0",
    "googlenet",
]
NAMES = [
    *OURS,
    *(f"torchvision:{name}" for name in THEIRS),
    *(pytest.param(f"torchvision:{name}", marks=pytest.mark.slow) for name in HEAVY),
]


@pytest.mark.parametrize("name", NAMES)
def test_removing_channels_equals_masking_them(name):
    model, x = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    groups = channel(scope(model, x[:1]))
    masks = spread(groups, drawn(groups, 0.5), model)
    small = remove(model, masks, x)
    fresh = torch.randn(3, *x.shape[1:])
    wanted = outputs(masked_copy(model, masks), fresh)
    torch.testing.assert_close(outputs(small, fresh), wanted, rtol=1e-5, atol=1e-5)
    assert parameter_count(small) == active(model, masks) < parameter_count(model)
    assert type(small) is type(model)
    assert small.training == model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} of the original was changed"


@pytest.mark.parametrize("pattern", [residual, layer])
@pytest.mark.parametrize(
    "name", ["resnet8", "resnet20", "torchvision:resnet18", "torchvision:mobilenet_v2"]
)
def test_removing_blocks_and_layers_equals_masking_them(name, pattern):
    model, x = network(name)
    groups = pattern(scope(model, None))
    masks = spread(groups, drawn(groups, 0.5), model)
    small = remove(model, masks, x)
    fresh = torch.randn(3, *x.shape[1:])
    wanted = outputs(masked_copy(model, masks), fresh)
    torch.testing.assert_close(outputs(small, fresh), wanted, rtol=1e-5, atol=1e-5)
    assert parameter_count(small) <= active(model, masks) < parameter_count(model)
    assert set(small.state_dict()) <= set(model.state_dict()), "names stay as they were"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("resnet8", channel), ("resnet8", residual), ("torchvision:resnet18", residual)],
)
def test_the_small_network_trains_as_the_masked_one(name, pattern):
    """In training mode too: same loss, same gradients of what is left, same step."""
    model, x = network(name)
    x, y = torch.randn(16, *x.shape[1:]), torch.arange(16) % 10
    groups = pattern(scope(model, x[:1]))
    kept = drawn(groups, 0.6)
    kept[0][0] = False  # the first block of all: its skip has no projection
    masks = spread(groups, kept, model)
    masked, small = masked_copy(model, masks), remove(model, masks, x)
    losses = []
    for network_ in (masked, small):
        optimizer = torch.optim.SGD(network_.train().parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network_(x), y)
            loss.backward()
            optimizer.step()
            if network_ is masked:
                for name, mask in masks.items():
                    network_.get_parameter(name).data.masked_fill_(~mask, 0)
            losses.append(loss.item())
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-3)
    assert losses[5] < losses[3]


def test_what_was_frozen_stays_frozen_and_the_rest_learns():
    model, x = network("lenet")
    model.conv1.weight.requires_grad_(False)
    groups = channel(scope(model, x[:1]))
    small = remove(model, spread(groups, drawn(groups, 0.5), model), x)
    assert [n for n, p in small.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert all(p.is_leaf and p.grad is None for p in small.parameters())


def test_a_channel_by_hand():
    """1 -> 2 -> 1: the second hidden unit goes, and the first alone answers."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [3.0]]))
        model[0].bias.copy_(torch.tensor([1.0, 5.0]))
        model[2].weight.copy_(torch.tensor([[10.0, 100.0]]))
        model[2].bias.zero_()
    (group,) = channel(scope(model, torch.zeros(1, 1)))
    masks = spread([group], [torch.tensor([True, False])], model)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "0.weight": [[True], [False]],
        "0.bias": [True, False],
        "2.weight": [[True, False]],
    }
    small = remove(model, masks, torch.zeros(1, 1))
    assert small(torch.tensor([[1.0]])).item() == 30.0
    assert [p.tolist() for p in small.parameters()] == [[[2.0]], [1.0], [[10.0]], [0.0]]


def test_what_goes_with_a_channel():
    """Over a skip: both convolutions, the projection, their batch norms, and every reader."""
    model, x = network("resnet8", 16)
    stage2 = next(g for g in channel(scope(model, x[:1])) if "stage2_1.body.conv2" in g.name)
    made = {m.name for m in stage2.members if m.ranks}
    assert made == {"stage2_1.body.conv2.weight", "stage2_1.shortcut.conv.weight"}
    assert {m.name for m in stage2.members} - made == {
        "stage2_1.body.norm2.weight",
        "stage2_1.body.norm2.bias",
        "stage2_1.shortcut.norm.weight",
        "stage2_1.shortcut.norm.bias",
        "stage3_1.body.conv1.weight",
        "stage3_1.shortcut.conv.weight",
    }
    assert stage2.count == 32
    assert stage2.size == 32 * 9 + 16
    assert stage2.shape == (32, 32, 3, 3)


def test_flattening_ties_a_channel_to_all_its_places():
    model, x = network("lenet")
    conv2 = next(g for g in channel(scope(model, x[:1])) if g.name == "conv2.weight")
    reader = next(m for m in conv2.members if m.name == "fc1.weight")
    places = model.fc1.in_features // 16
    assert reader.units.flatten().tolist() == [c for c in range(16) for _ in range(places)]
    assert not reader.ranks


def test_a_grouped_convolution_keeps_its_groups_of_one_width():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 2, 1)
    )
    first, second = channel(scope(model, torch.zeros(1, 3, 5, 5)))
    assert (first.name, first.count, first.size) == ("0.weight", 2, 3 * 4)
    assert (second.name, second.count, second.size) == ("2.weight", 3, 2 * 9 * 4)
    masks = spread([second], [torch.tensor([True, False, True])], model)
    small = remove(model, masks, torch.zeros(1, 3, 5, 5))
    assert small[2].out_channels == 8
    assert masks["2.weight"][:, 0, 0, 0].tolist() == [True, False, True] * 4


def test_the_skip_list_governs_ranking_only():
    model, x = network("resnet8", 16)
    names = tuple(n for n in scope(model, x).names if n != "stage2_1.body.conv2.weight")
    group = next(
        g for g in channel(Scope(model, names, x)) if g.name == "stage2_1.shortcut.conv.weight"
    )
    skipped = next(m for m in group.members if m.name == "stage2_1.body.conv2.weight")
    assert not skipped.ranks
    masks = spread([group], [torch.arange(32) < 10], model)
    assert masks[skipped.name].sum() == 10 * 32 * 9
    alone = Scope(model, ("stage1_1.body.conv1.weight",), x)
    assert [g.name for g in channel(alone)] == list(alone.names), "what nobody ranks is left alone"


def test_the_output_is_never_a_unit():
    for name in OURS:
        model, x = network(name)
        last = [n for n, _ in model.named_parameters() if n.startswith("fc")][-1].split(".")[0]
        made = {m.name for g in channel(scope(model, x[:1])) for m in g.members if m.ranks}
        reading = "fc3" if name in ("mlp", "lenet") else last
        assert f"{reading}.weight" not in made


def test_a_batch_norm_left_alive_keeps_its_channel():
    """A zero filter behind which batch norm still adds its bias is not a dead channel."""
    model = lively(nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)))
    masks = {"0.weight": torch.tensor([True, True, False, False]).view(4, 1, 1, 1)}
    masks["0.bias"] = masks["0.weight"].flatten()
    x = torch.randn(2, 1, 3, 3)
    small = remove(model, masks, x)
    assert parameter_count(small) == parameter_count(model)
    masks["1.weight"] = masks["1.bias"] = masks["0.bias"]
    small = remove(model, masks, x)
    assert small[0].out_channels == 2
    torch.testing.assert_close(outputs(small, x), outputs(masked_copy(model, masks), x))


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Hardswish()])
def test_activations_that_send_zero_to_zero_need_no_columns(activation):
    model = nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 2))
    rows = torch.tensor([True, False, True, False, False, True])
    masks = {"0.weight": rows[:, None].expand(6, 4), "0.bias": rows}
    assert remove(model, masks, torch.randn(2, 4))[0].out_features == 3


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid()])
def test_a_constant_that_is_read_is_refused_and_one_that_is_not_goes(activation):
    model = nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 2))
    x = torch.randn(2, 4)
    rows = torch.tensor([True, False, True, False, False, True])
    masks = {"0.weight": rows[:, None].expand(6, 4), "0.bias": rows}
    with pytest.raises(dp.PrunerError, match="computes something else") as refused:
        remove(model, masks, x)
    assert "\n" not in str(refused.value)
    groups = channel(scope(model, x[:1]))
    masks = spread(groups, [rows], model)
    small = remove(model, masks, x)
    assert small[0].out_features == 3
    torch.testing.assert_close(outputs(small, x), outputs(masked_copy(model, masks), x))


def test_what_nobody_reads_goes_whatever_makes_it():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    columns = torch.tensor([True, False, True, True, False, True])
    small = remove(model, {"2.weight": columns.expand(2, 6)}, torch.randn(2, 4))
    assert small[0].out_features == 4


def test_one_unit_is_left_where_all_are_masked():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    masks = {
        name: torch.zeros(p.shape, dtype=torch.bool) for name, p in model[0].named_parameters("0")
    }
    small = remove(model, masks, torch.randn(2, 4))
    assert small[0].out_features == 1
    torch.testing.assert_close(small(torch.randn(3, 4)), model[2].bias.expand(3, 2))


def test_single_weights_free_nothing():
    model, x = network("lenet")
    masks = {name: torch.rand(p.shape) < 0.5 for name, p in model.named_parameters() if p.ndim > 1}
    small = remove(model, masks, x)
    assert parameter_count(small) == parameter_count(model)
    assert (small.conv2.weight == 0).float().mean() > 0.4


def test_blocks_by_hand():
    model, x = network("resnet20", 16)
    blocks = residual_blocks(model)
    assert len(blocks) == 9
    assert blocks[3].modules[0] == "stage2_1.body.conv1"
    assert "stage2_1.shortcut.conv.weight" not in blocks[3].parameters, "the projection stays"
    masks = {
        name: torch.zeros_like(model.get_parameter(name)).bool() for name in blocks[4].parameters
    }
    small = remove(model, masks, x)
    without = deepcopy(model).eval()
    without.stage2_2.body = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (32, 8, 8)))
    without.stage2_2.body.register_forward_hook(lambda module, inputs, out: out * 0)
    torch.testing.assert_close(outputs(small, x), outputs(without, x))
    assert parameter_count(small) == parameter_count(model) - sum(m.numel() for m in masks.values())


def test_grey_pictures_keep_their_hook_when_a_block_is_cut():
    model = lively(dp.make_model("torchvision:resnet18", 10, (1, 32, 32)))
    x = torch.randn(2, 1, 32, 32)
    groups = residual(scope(model, None))
    masks = spread(groups, [torch.arange(8) != 1], model)
    small = remove(model, masks, x)
    torch.testing.assert_close(outputs(small, x), outputs(masked_copy(model, masks), x))
