"""Masks hold: in the forward pass, against every optimizer, over a resume, in fit and beside it."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import datapruner as dp
from datapruner import Refused, UsageError
from datapruner.masks import CRITERIA, SCHEDULES, GivenMasks, average_active, make_masks
from datapruner.training import train

RUN = dp.Run(model="mlp", epochs=4, lr=0.05, batch_size=256, augment="none")


@pytest.fixture(scope="module")
def digits() -> dp.Data:
    return dp.open_data("digits")


def fitted(data, weights, *, run=RUN, model=None, **options):
    model = model or dp.make_model(run.model, data.num_classes, data.shape)
    loader = dp.TensorLoader(data, run.batch_size, augment="none")
    return model, dp.fit(model, loader, None, run, masks=weights, **options)


def zeros(model: nn.Module) -> int:
    return sum(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1)


OPTIMIZERS = {
    "momentum and decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("tells", [True, False], ids=["both calls", "after_step alone"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_nothing_revives_a_weight(kind, tells):
    """Half of the steps before the mask, so that there is momentum to revive weights by."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = OPTIMIZERS[kind](model.parameters())
    spec = dp.WeightPruning(0.3, schedule="linear", begin=0.4, end=0.6, every=0.1)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    for step in range(20):
        optimizer.zero_grad()
        x, y = torch.randn(16, 6), torch.randint(0, 3, (16,))
        nn.functional.cross_entropy(model(x), y).backward()
        if tells:
            pruning.before_step(step / 20)
        optimizer.step()
        pruning.after_step((step + 1) / 20)
        for name, mask in pruning.masks.items():
            parameter = model.get_parameter(name)
            assert (parameter[~mask] == 0).all()
            for value in optimizer.state[parameter].values():
                if isinstance(value, torch.Tensor) and value.shape == mask.shape:
                    assert (value[~mask] == 0).all()
    assert zeros(model) == 72 - round(0.3 * 72)
    masks = pruning.finalize()
    assert sum(int(m.sum()) for m in masks.values()) == round(0.3 * 72)


WAYS = [
    *({"schedule": name} for name in SCHEDULES),
    {"criterion": "movement"},
    {"criterion": "learned"},
    {"criterion": "snip", "examples": 64},
    {"pattern": "2:4", "density": 0.5, "skip": "classifier"},
    {"pattern": "row"},
]


def named(way: dict) -> str:
    return "-".join(str(v) for v in way.values())


def spec_of(way: dict) -> dp.WeightPruning:
    return dp.WeightPruning(**({"density": 0.1, "every": None} | way))


class Killed(Exception):
    pass


class Kill:
    def observe(self, epoch, batch, logits, losses):
        if epoch == 2:
            raise Killed

    def end_epoch(self, epoch):
        pass

    def resume(self, epoch):
        pass


@pytest.mark.parametrize("way", WAYS, ids=named)
def test_a_run_that_is_killed_in_the_middle_ends_as_if_it_had_not_been(way, digits, tmp_path):
    weights = spec_of(way)
    whole, history = fitted(digits, weights)
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        fitted(digits, weights, checkpoint=file, observers=[Kill()])
    again, resumed = fitted(digits, weights, checkpoint=file)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert [e.active for e in resumed.epochs] == [e.active for e in history.epochs]
    assert [e.train_loss for e in resumed.epochs] == [e.train_loss for e in history.epochs]


@pytest.mark.parametrize("way", WAYS, ids=named)
def test_the_end_is_a_plain_network_of_the_density_asked_for(way, digits):
    weights = spec_of(way)
    fresh = dp.make_model("mlp", digits.num_classes, digits.shape)
    model, history = fitted(digits, weights)
    assert list(model.state_dict()) == list(fresh.state_dict())
    assert all(type(p) is nn.Parameter for p in model.parameters())
    total = 50200 - (1000 if weights.skip else 0)
    kept = round(weights.density * total)
    gone = zeros(model)
    if weights.schedule in ("rigl", "set"):  # grown weights may still be 0
        assert gone >= total - kept
    elif weights.pattern == "row":
        assert total - kept <= gone < total - kept + 300
    else:
        assert gone == total - kept
    if weights.schedule not in ("after", "staircase"):  # these mask at the very end
        assert history.epochs[-1].active == pytest.approx(50610 - total + kept, abs=3000)
    assert len(history.epochs) == 4


def test_the_mean_of_active_weights_is_that_of_the_ramp(digits):
    """Linear from a quarter to three quarters: N̄ / N = (1 + d) / 2."""
    weights = dp.WeightPruning(0.2, schedule="linear")
    _, history = fitted(digits, weights, run=dp.Run(model="mlp", epochs=10, batch_size=64))
    share = (average_active(history) - 410) / 50200
    assert share == pytest.approx(0.6, abs=0.01)


def test_a_schedule_means_the_same_on_a_tenth_of_the_data(digits):
    weights = dp.WeightPruning(0.1, schedule="cubic")
    few = dp.Run(model="mlp", epochs=10, batch_size=16)
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    loader = dp.TensorLoader(digits, 16, augment="none")
    history = dp.fit(model, loader, dp.RS2(0.1), few, masks=weights)
    other, many = fitted(digits, weights, run=dp.Run(model="mlp", epochs=10, batch_size=128))
    for one, two in zip(history.epochs, many.epochs, strict=True):
        assert one.active == pytest.approx(two.active, rel=0.08)
    assert zeros(model) == zeros(other)


def test_a_ramp_only_ever_removes_and_a_staircase_lets_weights_return(digits):
    for schedule, returns in (("cubic", False), ("staircase", True)):
        model = dp.make_model("mlp", digits.num_classes, digits.shape)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        spec = dp.WeightPruning(0.2, schedule=schedule, begin=0.0, end=1.0, every=0.2)
        pruning = dp.masks.attach(model, optimizer, spec)
        pruning.begin()
        gone = torch.zeros_like(model.fc1.weight, dtype=torch.bool)
        came_back = False
        for step in range(10):
            x = torch.rand(32, *digits.shape)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), torch.arange(32) % 10).backward()
            pruning.before_step(step / 10)
            optimizer.step()
            came_back |= bool((model.fc1.weight[gone] != 0).any())
            pruning.after_step((step + 1) / 10)
            gone |= model.fc1.weight == 0
        assert came_back == returns
        assert zeros(model) == 50200 - 10040


def test_rigl_drops_the_smallest_and_grows_the_highest_dense_gradient():
    model = nn.Linear(4, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[3.0, 1.0, 0.1, 0.2]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    spec = dp.WeightPruning(0.5, schedule="rigl", begin=0.0, end=1.0, every=0.1, replaced=0.5)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    assert model.weight.tolist() == [[3, 1, 0, 0]]
    model.weight.grad = torch.tensor([[9.0, 0.0, 1.0, -2.0]])
    pruning.before_step(0.1)
    assert model.weight.tolist() == [[3, 0, 0, 0]]
    assert pruning.masks["weight"].tolist() == [[True, False, False, True]]
    assert model.weight.grad.tolist() == [[9, 0, 0, -2]]


def test_rigl_keeps_n_of_m_and_exchanges_in_the_weakest_cells():
    model = nn.Linear(8, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[4.0, 3.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    spec = dp.WeightPruning(0.5, pattern="2:4", schedule="rigl", end=1.0, every=0.1, replaced=0.25)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    model.weight.grad = torch.tensor([[0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 1.0, 2.0]])
    pruning.before_step(0.1)
    assert pruning.masks["weight"].int().tolist() == [[1, 1, 0, 0, 1, 0, 0, 1]]


def test_a_soft_mask_is_the_sigmoid_of_squares_over_the_temperature():
    """Norms 1 and 2 at the edge: t² = 2.25; a weight of 1 passes σ((1 - 2.25) / τ) of itself."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    spec = dp.WeightPruning(0.5, schedule="soft", begin=0.0, end=0.5, temperature=2.0)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    pruning.after_step(0.5)
    soft = torch.sigmoid((model.weight.detach().square() - 2.25) / 2)
    out = pruning.forward(torch.tensor([[1.0, 1.0]]))
    assert out.item() == pytest.approx((soft * model.weight).sum().item())
    out.sum().backward()
    w = model.weight.detach()
    slope = soft + w * soft * (1 - soft) * 2 * w / 2  # through the mask too
    assert torch.allclose(model.weight.grad, slope)
    assert pruning.finalize()["weight"].tolist() == [[False, True]]


@pytest.mark.parametrize("schedule", ["cubic", "soft"])
def test_masks_go_through_torch_compile(schedule):
    model = dp.make_model("mlp", 10, (1, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    spec = dp.WeightPruning(0.2, schedule=schedule, begin=0.0, end=0.5)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    compiled = torch.compile(pruning.forward, backend="eager")
    x = torch.rand(4, 1, 8, 8)
    for progress in (0.1, 0.6):
        pruning.after_step(progress)
        assert torch.allclose(compiled(x), pruning.forward(x), atol=1e-6)


def test_an_average_of_the_weights_is_masked_at_the_end():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    average = torch.optim.swa_utils.AveragedModel(model)
    masks = make_masks(model, density=0.1)
    average.update_parameters(model)
    dp.masks.apply_masks(average.module, masks)
    assert zeros(average) == 50200 - 5020


def test_masks_that_are_given_stay_and_a_start_is_taken(digits):
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    masks = make_masks(model, density=0.1, criterion="random", allocation="erk")
    first = {k: v.clone() for k, v in model.state_dict().items()}
    trained, _ = fitted(digits, GivenMasks(masks), model=model, start=first)
    assert all((trained.get_parameter(k)[~m] == 0).all() for k, m in masks.items())
    assert zeros(trained) == 50200 - 5020


def test_a_run_names_its_pruning_and_train_carries_it_out(tmp_path):
    run = dp.Run(data="digits", model="mlp", epochs=2, weights=dp.WeightPruning(0.1))
    assert run.id() != dp.Run(data="digits", model="mlp", epochs=2).id()
    assert dp.Run.from_dict(run.changed()) == run
    model, history = train(run, out=tmp_path / "run")
    assert zeros(model) == 50200 - 5020
    again, _ = train(run, out=tmp_path / "run")
    assert zeros(again) == 50200 - 5020
    assert history.active is not None


def test_a_word_that_is_wrong_leaves_no_folder_behind(tmp_path):
    weights = dp.WeightPruning(0.1, allocation="fc9=0.2")
    with pytest.raises(UsageError, match="fc9"):
        train(dp.Run(data="digits", model="mlp", weights=weights), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_report_has_the_density_of_each_layer():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    masks = make_masks(model, density=0.1, allocation="uniform", skip="classifier")
    found = dp.masks.density_report(model, masks)
    assert found["layers"] == pytest.approx({"fc1.weight": 0.1, "fc2.weight": 0.1}, abs=1e-4)
    assert (found["kept"], found["weights"], found["parameters"]) == (4920, 49200, 50610)
    assert found["active"] == 50610 - 49200 + 4920


def test_masks_of_torch_are_read_and_written():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    x = torch.rand(3, 1, 8, 8)
    torch_prune.l1_unstructured(model.fc1, "weight", amount=0.5)
    expected = model(x)
    masks = dp.masks.settle_torch_masks(model)
    assert list(masks) == ["fc1.weight"]
    assert torch.equal(model(x), expected)
    assert int(masks["fc1.weight"].sum()) == int((model.fc1.weight != 0).sum()) == 9600
    other = dp.make_model("mlp", 10, (1, 8, 8))
    dp.masks.write_torch_masks(other, masks)
    assert torch_prune.is_pruned(other)
    assert torch.equal(dp.masks.read_torch_masks(other)["fc1.weight"], masks["fc1.weight"])
    assert torch.equal(other(x), expected)


def test_a_fresh_mask_of_the_same_densities_and_fresh_weights_under_the_same_mask():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    masks = make_masks(model, density=0.1)
    drawn = dp.masks.redrawn(masks, seed=1)
    assert {k: int(m.sum()) for k, m in masks.items()} == {
        k: int(m.sum()) for k, m in drawn.items()
    }
    assert not any(torch.equal(masks[k], drawn[k]) for k in masks)
    assert all(m.any(1).all() for m in drawn.values())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    dp.masks.fresh(model, masks, seed=1)
    for name, mask in masks.items():
        now = model.get_parameter(name)
        assert not torch.equal(now[mask], before[name][mask])
        assert torch.equal(now[mask].sort().values, before[name][mask].sort().values)
        assert torch.equal(now[~mask], before[name][~mask])


WRONG = [
    ({"schedule": "cubik"}, ["'cubik'", "'cubic'"]),
    ({"criterion": "snip", "schedule": "before", "begin": 0.2, "end": 0.3}, ["'before'", "once"]),
    ({"begin": 0.8, "end": 0.2}, ["begin", "before end"]),
    ({"criterion": "movement", "schedule": "before"}, ["movement", "begin"]),
    ({"criterion": "learned", "schedule": "rigl"}, ["learned", "cubic"]),
    ({"criterion": "snip", "schedule": "soft"}, ["soft", "magnitude"]),
    ({"allocation": "fc7=0.2"}, ["'fc7'", "no layer"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_is_refused_before_the_first_step(options, words, digits):
    with pytest.raises(UsageError) as refused:
        fitted(digits, dp.WeightPruning(**({"density": 0.1} | options)))
    assert [word for word in words if word not in str(refused.value)] == []


def test_masks_of_another_pattern_are_not_taken_up(digits, tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        fitted(digits, dp.WeightPruning(0.1), checkpoint=file, observers=[Kill()], run_id="x")
    with pytest.raises(Refused, match="fc1.weight"):
        fitted(digits, dp.WeightPruning(0.1, pattern="row"), checkpoint=file, run_id="x")


@pytest.mark.parametrize("name", ["grasp", "wanda", "lookahead", "obs"])
def test_criteria_work_with_batch_norm_skips_and_a_ramp(name):
    assert name in CRITERIA
    data = dp.open_data("digits")
    run = dp.Run(model="resnet8", steps=4, batch_size=32, lr=0.01)
    weights = dp.WeightPruning(0.3, name, every=0.25, begin=0.0, end=1.0, examples=32)
    model, _ = fitted(data, weights, run=run)
    names = dp.masks.prunable(model).names
    total = sum(model.get_parameter(n).numel() for n in names)
    assert zeros(model) >= total - round(0.3 * total)
