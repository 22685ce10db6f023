"""Weight masks at the edges: floors, shared layers, what a network does not give a criterion."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import datapruner as dp
from datapruner import UsageError, ranks
from datapruner.loaders import Batch
from datapruner.masks import CRITERIA, attach, cost, dead_units, lottery, make_masks, prunable
from datapruner.masks.criteria_gradients import synflow
from datapruner.masks.exchange import exchanged
from datapruner.masks.learned import LearnedScores
from datapruner.masks.probe import Probe
from datapruner.masks.units import Group, Member
from datapruner.run import RS2Spec

ROUND = dp.Run(data="digits", model="mlp", steps=3)


def test_an_exchange_leaves_each_output_its_floor():
    """Four outputs with one weight each: none may go, however weak; with a second one, that may."""
    units = torch.arange(16).view(4, 4)
    group = Group("w", (4, 4), 16, 1, (Member("w", units),), cell=4)
    weights = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    wanted = torch.tensor([9.0, 0.0, 0.0, 0.0]).view(4, 1).expand(4, 4)
    active = torch.eye(4).bool()
    (left,) = exchanged([group], [active.flatten()], {"w": weights}, {"w": wanted}, 0.5, 1, 0, 1)
    assert left.view(4, 4).equal(active)
    weights[1, 0], active[1, 0] = 0.1, True
    (left,) = exchanged([group], [active.flatten()], {"w": weights}, {"w": wanted}, 0.5, 1, 0, 1)
    assert left.view(4, 4).sum(1).tolist() == [2, 1, 1, 1]


def test_nothing_grows_at_the_end_where_it_would_never_train():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    spec = dp.WeightPruning(0.2, schedule="set", end=1.0, every=0.25, allocation="uniform")
    pruning = attach(model, optimizer, spec)
    pruning.begin()
    for step in range(4):
        optimizer.zero_grad()
        model(torch.ones(2, 1, 8, 8)).square().sum().backward()
        pruning.before_step(step / 4)
        optimizer.step()
        before = pruning.masks["fc2.weight"]
        pruning.after_step((step + 1) / 4)
        assert torch.equal(before, pruning.masks["fc2.weight"]) == (step == 3)
    assert pruning.finalize()["fc2.weight"].equal(before)


@pytest.mark.parametrize("first", ["head", "embedding"])
def test_a_matrix_that_is_an_embedding_too_is_left_alone(first):
    model = nn.Module()
    table = nn.Parameter(torch.ones(9, 4))
    for name in sorted(("head", "embedding"), key=lambda name: name != first):
        layer = nn.Linear(4, 9, bias=False) if name == "head" else nn.Embedding(9, 4)
        layer.weight = table
        model.add_module(name, layer)
    model.fc = nn.Linear(4, 4, bias=False)
    found = prunable(model)
    assert (found.names, found.skipped) == (("fc.weight",), {f"{first}.weight": "embedding"})


class Tokens(nn.Module):
    """The parameters of vision transformers and their like that are no weights of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = (
            nn.Parameter(torch.ones(1, 1, 4)),
            nn.Parameter(torch.ones(1, 9, 4)),
        )
        self.scale, self.position_bias_table = (
            nn.Parameter(torch.ones(4, 1, 1)),
            nn.Parameter(torch.ones(9, 2)),
        )
        self.mixing, self.one = nn.Parameter(torch.ones(4, 4)), nn.Linear(4, 1, bias=False)


def test_what_is_broadcast_or_added_is_no_weight():
    found = prunable(Tokens())
    assert found.names == ("mixing", "one.weight")
    assert found.skipped == {
        "token": "broadcast", "position": "broadcast", "scale": "broadcast",
        "position_bias_table": "bias",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["circular", "reflect"])
def test_wanda_sees_what_a_convolution_pads_with(mode):
    torch.manual_seed(1)
    conv = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode, bias=False)
    x = torch.randn(4, 2, 5, 5)
    given = Probe(conv, ("weight",), (Batch(torch.arange(4), x, torch.zeros(4)),),
                  lambda logits, batch, progress: logits.flatten(1).sum(1))  # fmt: skip
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode)
    norms = nn.functional.unfold(padded, 3).square().sum((0, 2)).sqrt().view(2, 3, 3)
    found = CRITERIA["wanda"].weights(given)["weight"]
    assert torch.allclose(found, conv.weight.abs() * norms, rtol=1e-4)


def test_masks_are_settled_on_each_process_its_own_device():
    own = torch.device("cuda", 1)  # and not the current one, which may be the same in all processes
    assert ranks._meeting(own, "nccl") == own
    assert ranks._meeting(torch.device("cpu"), "nccl") == torch.device("cuda")
    assert ranks._meeting(torch.device("cpu"), "gloo") == torch.device("cpu")


def test_options_that_are_none_change_no_kind():
    model = nn.Linear(4, 4)
    spec = dp.WeightPruning(0.5, criterion="learned:")
    assert isinstance(attach(model, torch.optim.SGD(model.parameters(), 0.1), spec), LearnedScores)


@pytest.mark.parametrize("criterion", ["obs", "snip"])
def test_a_loss_may_run_a_teacher(criterion):
    data = dp.open_data("digits")
    teacher, model = (dp.make_model("lenet", 10, data.shape, seed=seed) for seed in (0, 1))
    weights = dp.WeightPruning(0.5, criterion=criterion, schedule="before", examples=8)
    run, loss = dp.Run(steps=1), dp.Distill(teacher, weight=0.5, temperature=4.0)
    dp.fit(model, dp.TensorLoader(data), None, run, loss=loss, masks=weights)
    assert sum(int((p == 0).sum()) for p in model.parameters()) > 0


@pytest.mark.parametrize("value", [8.0, 1e-4])
def test_synflow_ranks_where_float32_ends(value):
    """The flow through 40 layers is (8 * 8)^40 = 1e72, or (8 * 1e-4)^40 = 1e-124."""
    model = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(40)])
    for layer in model:
        nn.init.constant_(layer.weight, value)
    model[20].weight.data[:, 3] *= 2  # what carries more than the others
    names = tuple(name for name, _ in model.named_parameters())
    scores = synflow(Probe(model, names, example=torch.ones(1, 8)))
    assert scores["20.weight"][0, 3] == 1
    assert scores["20.weight"][0, 2] == pytest.approx(0.5)


class Odd(nn.Module):
    """Joins two paths, and holds a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.idle = nn.Linear(64, 8), nn.Linear(16, 10), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.last(torch.cat([x, x.relu()], 1))


@pytest.mark.parametrize(
    ("criterion", "allocation", "words"),
    [
        ("lookahead", "erk", ["lookahead", "cat"]),
        ("wanda", "erk", ["wanda", "'idle.weight'"]),
        ("magnitude", "synflow", ["synflow", "shape"]),
    ],
)
def test_what_cannot_score_a_network_says_so_before_training(criterion, allocation, words):
    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(torch.rand(4, 1, 8, 8), torch.arange(4))] if criterion == "wanda" else None
    spec = dp.WeightPruning(0.5, criterion=criterion, allocation=allocation)
    with pytest.raises(UsageError) as refused:
        attach(model, optimizer, spec, loader=batches)
    assert [word for word in words if word not in str(refused.value)] == []


def test_wanda_leaves_no_hook_behind_where_it_refuses():
    model = nn.Sequential(nn.Linear(8, 6), nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 3, 3))
    batches = [(torch.rand(4, 8), torch.arange(4) % 3)]
    with pytest.raises(UsageError, match="wanda knows the inputs"):
        make_masks(model, density=0.5, criterion="wanda", loader=batches)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_lookahead_refuses_transposed_convolutions():
    """Their weight is (in, out, ...), so the sums over its rows would be of the wrong side."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(UsageError, match="transposed"):
        make_masks(model, density=0.5, criterion="lookahead")


@pytest.mark.parametrize("allocation", ["erk", "uniform", "erk,fc3=0.05"])
def test_counts_inside_of_other_masks_are_exact_too(allocation):
    """A layer of which less is left than its share stays as it is; the others share the rest."""
    torch.manual_seed(0)
    model = dp.make_model("mlp", 10, (1, 8, 8))
    first = make_masks(model, density=0.2, allocation="global", floor=0)
    second = make_masks(model, density=0.15, allocation=allocation, within=first)
    assert sum(int(mask.sum()) for mask in second.values()) == round(0.15 * 50200)
    assert not any((second[name] & ~first[name]).any() for name in first)


def test_densities_of_all_layers_may_round_otherwise_than_that_of_the_whole():
    """2.5 of 10 weights is 2 in each layer, and 7.5 of 30 is 8."""
    model = nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 5), nn.Linear(5, 2))
    masks = make_masks(model, density=0.25, allocation="erk,0=.25,1=.25,2=.25", floor=0)
    assert [int(mask.sum()) for mask in masks.values()] == [2, 2, 2]


@pytest.mark.parametrize("allocation", ["erk", "1=1", "lamp"])
def test_n_of_m_leaves_an_allocation_nothing_to_share_out(allocation):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    with pytest.raises(UsageError, match="2:4 keeps 0.5 of every layer"):
        make_masks(model, density=0.5, pattern="2:4", allocation=allocation)
    assert make_masks(model, density=0.5, pattern="2:4", allocation="uniform")


def test_dead_units_of_grouped_and_transposed_convolutions():
    """The second group's weights are in the same columns, but read other channels."""
    mask = torch.ones(4, 2, 3, 3, dtype=torch.bool)
    mask[:2, 0], mask[3] = False, False
    found = dead_units(nn.Conv2d(4, 4, 3, groups=2), {"weight": mask})["weight"]
    assert (found.units, found.fed_by_nothing, found.inputs, found.unread) == (4, 1, 4, 1)
    mask = torch.ones(4, 3, 2, 2, dtype=torch.bool)
    mask[:2, 0], mask[3] = False, False
    found = dead_units(nn.ConvTranspose2d(4, 6, 2, groups=2), {"weight": mask})["weight"]
    assert (found.units, found.fed_by_nothing, found.inputs, found.unread) == (6, 1, 4, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": 5, "rate": 0.9}, ["5 rounds", "fewer"]),
        ({"within": "layer", "classifier_rate": 0.1, "skip": "classifier"}, ["classifier", "skip"]),
        ({"rewind": "3steps"}, ["step 3", "earlier"]),
    ],
)
def test_a_lottery_that_cannot_end_does_not_begin(options, words, tmp_path):
    with pytest.raises(UsageError) as refused:
        lottery(ROUND, out=tmp_path / "l", **({"rewind": "0", "rounds": 1} | options))
    assert [word for word in words if word not in str(refused.value)] == []
    assert not (tmp_path / "l").exists()


def test_a_share_that_moves_with_the_epochs_is_not_rewound_to_a_step(tmp_path):
    run = replace(ROUND, epochs=4, steps=0, sampler=RS2Spec(0.1, final=0.5))
    with pytest.raises(UsageError, match="needs epochs"):
        lottery(run, rounds=1, rewind="25%", out=tmp_path / "l")
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize("examples", [15, 0])
def test_scoring_on_a_pruned_loader_leaves_its_epochs_as_they_were(examples):
    def orders(scored):
        rows = TensorDataset(torch.randn(60, 8), torch.arange(60) % 3)
        loader = dp.prune(DataLoader(rows, batch_size=10), dp.RS2(0.5, seed=3))
        if scored:
            model = nn.Linear(8, 3)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            spec = dp.WeightPruning(0.5, "snip", examples=examples)
            dp.masks.attach(model, optimizer, spec, loader=loader).begin()
        return [loader.indices.tolist() for _ in range(3) for _ in loader]

    assert orders(True) == orders(False)


@pytest.mark.parametrize("batch", [torch.zeros(4, 8), {"x": torch.zeros(4, 8)}, [torch.zeros(4)]])
def test_weights_are_scored_on_batches_of_two(batch):
    with pytest.raises(UsageError, match="batches .x, y."):
        make_masks(nn.Linear(8, 3), density=0.5, criterion="snip", loader=[batch])


def test_the_cost_of_layers_that_share_a_masked_weight():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    found = cost(model, torch.zeros(1, 4), {"0.weight": torch.eye(4) > 0})
    assert (found.flops, found.masked_flops) == (2 * 32, 2 * 8)


def test_learned_scores_mask_by_exactly_one_in_the_precision_of_the_network():
    model = nn.Linear(16, 4, bias=False).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pruning = attach(model, optimizer, dp.WeightPruning(0.5, criterion="learned", begin=0.0, end=1))
    pruning.begin()
    x = torch.eye(16).bfloat16()
    assert torch.equal(pruning.forward(x), model(x))
    pruning.forward(x).sum().backward()
    assert model.weight.grad is None
    assert pruning.scores[0].grad.abs().sum() > 0


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_an_output_that_is_gone_needs_no_floor(allocation):
    within = {"weight": torch.tensor([[True], [False], [True]]).expand(3, 6)}
    masks = make_masks(nn.Linear(6, 3), density=0.22, allocation=allocation, within=within, floor=2)
    assert masks["weight"].sum(1).tolist() == [2, 0, 2]
