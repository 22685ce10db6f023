"""One row for each criterion that a reader can work out by hand; a name without a row fails."""

from math import sqrt

import pytest
import torch
from torch import Tensor, nn

import datapruner as dp
from datapruner.loaders import Batch
from datapruner.masks.criteria import CRITERIA, criterion_named, unit_scores
from datapruner.masks.criteria_neighbours import block_distortion
from datapruner.masks.patterns import pattern_named
from datapruner.masks.probe import Probe
from datapruner.masks.units import Scope


def half_square(logits: Tensor, batch: Batch, progress: float) -> Tensor:
    """Return y²/2 of each row, whose gradient is y x and whose Hessian is x xᵀ."""
    return logits.square().sum(1) / 2


def layers(*matrices: list[list[float]]) -> nn.Sequential:
    found = []
    for matrix in matrices:
        weight = torch.tensor(matrix)
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data.copy_(weight)
        found.append(layer)
    return nn.Sequential(*found)


def probe(model: nn.Module, *rows: list[float], decay: float = 0.5, wide: int = 2) -> Probe:
    x = torch.tensor(rows or [[1.0] * wide])
    batch = Batch(torch.arange(len(x)), x, torch.zeros(len(x), dtype=torch.int64))
    names = tuple(name for name, p in model.named_parameters() if p.ndim > 1)
    batches = (batch,) if rows else ()
    return Probe(model, names, batches, half_square, x[:1], decay)


def scores(name: str, given: Probe, pattern: str = "weight") -> list[list[float]]:
    groups = pattern_named(pattern)(Scope(given.model, given.names, given.example))
    return [s.tolist() for s in unit_scores(criterion_named(name), given, groups)]


ONE = [[2.0, -1.0]]  # y = 2 - 3 = -1 at x = (1, 3): g = (-1, -3), w·g = (-2, 3)
X = [1.0, 3.0]
MLP = layers([[1.0], [2.0]], [[1.0, 2.0], [-3.0, 4.0]], [[5.0, -6.0]])

# name: options, network, inputs, pattern, expected scores of the units of each layer
ROWS = {
    "magnitude": [
        ("", layers([[3.0, -4.0]]), [], "weight", [[3, 4]]),
        ("", layers([[3.0, -4.0], [0.0, 1.0]]), [], "row", [[5, 1]]),  # a norm: not 7, not 3.5
    ],
    "lamp": [
        ("", layers([[1.0, -2.0, 4.0]]), [], "weight", [[1 / 21, 4 / 20, 1]]),
        ("", layers([[3.0, -4.0], [0.0, 5.0]]), [], "row", [[0.5, 1]]),
    ],
    # Of 4 and its neighbours 2 and -6: 48. W1 by what follows, W2 by both sides, W3 by what comes
    # before; then each layer by √(Σ w² / Σ score²).
    "lookahead": [
        (
            "",
            MLP,
            [],
            "weight",
            [
                [sqrt(5 / 90) * s for s in (sqrt(10), 2 * sqrt(20))],
                [sqrt(30 / 3053) * s for s in (5, 20, 18, 48)],
                [sqrt(61 / 1025) * s for s in (5 * sqrt(5), 30)],
            ],
        ),
    ],  # fmt: skip
    # R = Σ_k |v_k| Σ_j |W_kj|
    "synflow": [
        (
            "",
            layers([[1.0, -2.0], [3.0, 4.0]], [[-5.0, 6.0]]),
            [],
            "weight",
            [[5, 10, 18, 24], [15, 42]],
        ),
    ],  # fmt: skip
    "grad_x_weight": [
        ("", layers(ONE), [X], "weight", [[2, 3]]),
        # The mean over two rows, not the sum: g = ((-1, -3) + (1, 1)) / 2
        ("", layers(ONE), [X, [1.0, 1.0]], "weight", [[0, 1]]),
        (":decay=include", layers(ONE), [X], "weight", [[0, 3.5]]),
    ],
    "up": [("", layers(ONE), [X], "weight", [[4, 2.5]])],  # |2 + 0.5·4|, |-3 + 0.5·1|
    "snip": [("", layers(ONE), [X], "weight", [[2, 3]]), ("", layers(ONE), [X], "row", [[5]])],
    # (Σ w·g)² of the row is 1; the sum of squares would be 13.
    "taylor": [("", layers(ONE), [X], "weight", [[4, 9]]), ("", layers(ONE), [X], "row", [[1]])],
    "grasp": [("", layers(ONE), [X], "weight", [[-20, 30]])],  # Hg = x (x·g) = -10 x
    # The mean of the squares, not the square of the mean: h = ((1, 9) + (1, 1)) / 2
    "obs": [("", layers(ONE), [X, [1.0, 1.0]], "weight", [[2, 2.5]])],
    # |w|·‖x_j‖ = 2 √2, √10: places 1 and 2 of the row.
    "wanda": [
        ("", layers(ONE), [X, [1.0, 1.0]], "column", [[2 * sqrt(2), sqrt(10)]]),
    ],
}
IN_TRAINING = {"movement", "learned"}  # below
DRAWN = {"random"}


def test_every_criterion_has_a_row_worked_out_by_hand():
    assert set(CRITERIA) == ROWS.keys() | IN_TRAINING | DRAWN


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name, rows in ROWS.items() for row in rows]
)
def test_the_scores_are_what_the_definition_says(name, row):
    options, model, rows, pattern, expected = row
    wide = next(model.parameters()).shape[1]
    found = scores(name + options, probe(model, *rows, wide=wide), pattern)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_random_scores_are_a_function_of_the_seed():
    model = layers([[0.0] * 50] * 20)
    first, again = (scores("random", Probe(model, ("0.weight",), seed=3)) for _ in range(2))
    assert first == again != scores("random", Probe(model, ("0.weight",), seed=4))
    assert 0 <= min(first[0]) < 0.05 < 0.95 < max(first[0]) < 1


def test_random_units_are_drawn_whatever_their_size():
    """A sum of draws would put the largest units first, and those of one size close together."""
    model = nn.Sequential(
        nn.Linear(4, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 3)
    )
    names = ("0.weight", "2.weight")
    small, large = (torch.tensor(s) for s in scores("random", Probe(model, names, seed=1), "row"))
    for drawn in (small, large):
        assert abs(float(drawn.mean()) - 0.5) < 0.05
        assert abs(float(drawn.std()) - 12**-0.5) < 0.03
    masks = dp.masks.make_masks(model, density=0.5, criterion="random", pattern="row", floor=0)
    rows = [float(mask.flatten(1).any(1).float().mean()) for mask in masks.values()]
    assert all(abs(share - 0.5) < 0.1 for share in rows[:2])


def test_wanda_compares_within_a_row_and_breaks_ties_by_the_score():
    model = layers([[1.0, 2.0, 3.0], [40.0, 50.0, 60.0]])
    masks = dp.masks.make_masks(model, density=2 / 3, criterion="wanda", loader=[(torch.ones(4, 3),
                                torch.zeros(4, dtype=torch.int64))])  # fmt: skip
    assert masks["0.weight"].tolist() == [[False, True, True]] * 2


def test_grasp_keeps_what_would_weaken_the_gradient_if_it_went():
    """Shrinking w by a share δ changes ‖g‖² by -2δ w·Hg: the highest score is the worst loss."""
    model = layers(ONE)
    given = probe(model, X)
    (score,) = scores("grasp", given)

    def flow() -> float:
        return sum(float(g.square().sum()) for g in given.gradients().values())

    before, share = flow(), 1e-3
    for place in (0, 1):
        weight = model[0].weight
        with torch.no_grad():
            was = weight[0, place].item()
            weight[0, place] *= 1 - share
        change = flow() - before
        with torch.no_grad():
            weight[0, place] = was
        assert change == pytest.approx(-2 * share * score[place], rel=1e-2)
    kept = dp.masks.make_masks(model, density=0.5, criterion="grasp", loss=half_square, floor=0,
                               loader=[(torch.tensor([X]), torch.zeros(1))])  # fmt: skip
    assert kept["0.weight"].tolist() == [[False, True]]


def test_movement_sums_minus_weight_times_gradient_over_the_steps():
    model = layers(ONE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    spec = dp.WeightPruning(0.5, "movement", schedule="linear", begin=0.5, end=1.0)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    for weight, grad in (([2.0, -1.0], [-1.0, -3.0]), ([3.0, 2.0], [1.0, 1.0])):
        model[0].weight.data.copy_(torch.tensor([weight]))
        model[0].weight.grad = torch.tensor([grad])
        pruning.before_step(0.0)
    assert pruning.state_dict()["sum.0.weight"].tolist() == [[-1.0, -5.0]]
    assert pruning.finalize()["0.weight"].tolist() == [[True, False]]


def test_learned_scores_take_the_straight_through_gradient():
    """They start at √(6 / 2) |w| / max |w| and step by -lr · w · ∂L/∂(w m)."""
    model = layers(ONE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    spec = dp.WeightPruning(0.5, "learned", schedule="linear", begin=0.0, end=1.0)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    (pruning.forward(torch.tensor([X])).square().sum() / 2).backward()
    pruning.before_step(0.0)
    assert pruning.scores[0].tolist() == pytest.approx([sqrt(3) + 0.2, sqrt(3) / 2 - 0.3])
    optimizer.step()
    assert model[0].weight.tolist() == ONE  # the weights rest


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - IN_TRAINING))
def test_scoring_leaves_the_network_and_the_global_generator_as_they_were(name):
    model = dp.make_model("lenet" if name == "synflow" else "resnet8", 3, (3, 8, 8))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    loader = [(torch.rand(n, 3, 8, 8), torch.arange(n) % 3) for n in (6, 1)]
    state = torch.random.get_rng_state()
    masks = dp.masks.make_masks(model, density=0.3, criterion=name, loader=loader)
    again = dp.masks.make_masks(model, density=0.3, criterion=name, loader=loader)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(masks[k], again[k]) for k in masks)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    weights = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.3 * weights)


class Block(nn.Module):
    """x + fc(x), after a first layer and before a last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.last = nn.Linear(1, 1, bias=False)
        for layer, value in ((self.first, 2.0), (self.fc, 3.0), (self.last, 5.0)):
            nn.init.constant_(layer.weight, value)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(x + self.fc(x))


def test_lookahead_adds_the_paths_of_a_residual_block():
    """The identity counts 1: after `first` come fc and the identity, before `last` too."""
    model = Block()
    found = block_distortion(probe(model, wide=1))
    expected = {
        "first.weight": 2 * sqrt(9 + 1),
        "fc.weight": 3 * 2 * 5,
        "last.weight": 5 * sqrt(10),
    }
    assert {k: v.item() for k, v in found.items()} == pytest.approx(expected)


def test_lookahead_takes_batch_norms_and_flattened_pictures_into_account():
    """(γ/σ)² = 9/4 on the channel between; a flattened channel has a block of four inputs."""
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 1, bias=False),
    )  # fmt: skip
    nn.init.constant_(model[0].weight, 2.0)
    nn.init.constant_(model[1].weight, 3.0)
    model[1].running_var.fill_(4.0)
    model[4].weight.data.copy_(torch.tensor([[1.0, 2.0, 2.0, 4.0]]))
    found = block_distortion(probe(model))
    assert found["0.weight"].item() == pytest.approx(2 * 1.5 * 5)
    assert found["4.weight"].flatten().tolist() == pytest.approx([3, 6, 6, 12])


@pytest.mark.parametrize("groups", [1, 2])
def test_wanda_sees_the_inputs_of_a_convolution_at_every_place(groups):
    torch.manual_seed(1)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, bias=False)
    x = torch.randn(5, 4, 7, 7)
    given = Probe(conv, ("weight",), (Batch(torch.arange(5), x, torch.zeros(5)),),
                  lambda logits, batch, progress: logits.flatten(1).sum(1))  # fmt: skip
    found = CRITERIA["wanda"].weights(given)["weight"]
    columns = nn.functional.unfold(x, 3, padding=1, stride=2)  # (5, 36, places)
    norms = columns.square().sum((0, 2)).sqrt().view(4, 3, 3)
    per = 4 // groups
    for out in range(6):
        own = norms[(out // (6 // groups)) * per :][:per]
        assert torch.allclose(found[out], conv.weight[out].abs() * own, rtol=1e-4)


def test_a_subset_of_the_data_is_what_is_read():
    data = dp.open_data("digits")
    seen = []

    class Watching(dp.TensorLoader):
        def __call__(self, order, *, epoch=0, train=True):
            seen.append((order.tolist(), train))
            return super().__call__(order, epoch=epoch, train=train)

    model = dp.make_model("mlp", 10, data.shape)
    subset = torch.tensor([7, 3, 900, 11])
    dp.masks.make_masks(model, density=0.1, criterion="snip", loader=Watching(data), order=subset)
    assert seen == [(subset.tolist(), False)]


def test_batches_that_can_be_read_once_are_all_read():
    """The first must not be spent on finding out what an example looks like."""
    rows = torch.arange(12.0).reshape(4, 3)
    model = layers([[1, 2, 3]])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    weights = dp.WeightPruning(0.5, criterion="wanda", schedule="before", floor=0)
    batches = iter([(x[None], torch.tensor([0])) for x in rows])
    pruning = dp.masks.attach(model, optimizer, weights, loader=batches)
    assert torch.cat([batch.x for batch in pruning.probe.batches]).equal(rows)
