"""Masks hold: in the forward pass, against every optimizer, over a resume, in fit."""

import pytest
import torch
from masked_runs import Kill, Killed, fitted, zeros
from torch import nn

import datapruner as dp
from datapruner import Refused, UsageError
from datapruner.masks import CRITERIA, SCHEDULES, GivenMasks, make_masks
from datapruner.training import train


@pytest.fixture(scope="module")
def digits() -> dp.Data:
    return dp.open_data("digits")


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


@pytest.mark.parametrize("way", [{"schedule": "soft"}, {"criterion": "learned"}], ids=named)
def test_accuracy_on_the_way_is_that_of_the_masked_network(way, digits):
    """Under soft masks and learned scores the network alone is the one without masks."""
    test = dp.TensorLoader(dp.open_data("digits", "test"), 512, augment="none")

    class Watched:
        def attach(self, model, optimizer, **run):
            self.masking = spec_of(way).attach(model, optimizer, **run)
            return self.masking

    class Watch(Kill):
        def end_epoch(self, epoch):
            model.eval()
            (batch,) = test(torch.arange(len(test.labels)), train=False)
            with torch.no_grad():
                both = [run(batch.x).argmax(1) for run in (weights.masking.forward, model)]
            seen.append([(one == batch.y).double().mean().item() for one in both])

    weights, seen = Watched(), []
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    run = dp.Run(epochs=5, lr=0.05, batch_size=256, precision="float32")
    _, history = fitted(digits, weights, run=run, model=model, test=test, observers=[Watch(9)])
    assert [e.test_accuracy for e in history.epochs[:-1]] == [masked for masked, _ in seen[:-1]]
    assert any(masked != alone for masked, alone in seen[:-1])  # else the two are one
    assert history.accuracy == seen[-1][1] == seen[-1][0]  # what observers see last is what is left


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


WRONG = [
    ({"schedule": "cubik"}, ["'cubik'", "'cubic'"]),
    ({"criterion": "snip", "schedule": "before", "begin": 0.2, "end": 0.3}, ["'before'", "once"]),
    ({"begin": 0.8, "end": 0.2}, ["begin", "before end"]),
    ({"criterion": "movement", "schedule": "before"}, ["movement", "begin"]),
    ({"criterion": "learned", "schedule": "rigl"}, ["learned", "cubic"]),
    ({"criterion": "snip", "schedule": "soft"}, ["soft", "magnitude"]),
    ({"criterion": "lookahead", "schedule": "soft"}, ["soft", "magnitude"]),
    ({"pattern": "channel", "schedule": "soft"}, ["soft", "'row'"]),
    ({"allocation": "fc7=0.2"}, ["'fc7'", "no layer"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_is_refused_before_the_first_step(options, words, digits):
    weights = dp.WeightPruning(**({"density": 0.1} | options))
    with pytest.raises(UsageError) as refused:
        fitted(digits, weights)
    assert [word for word in words if word not in str(refused.value)] == []
    with pytest.raises(UsageError):  # and before a folder is taken
        weights.check(dp.make_model("mlp", digits.num_classes, digits.shape))


OTHERS = {
    "none": (None, "use of masks"),
    "pattern": (dp.WeightPruning(0.1, pattern="row"), "pattern 'weight', here it is 'row'"),
    "density": (dp.WeightPruning(0.5), "density 0.1, here it is 0.5"),
    "soft": (dp.WeightPruning(0.1, schedule="soft"), "schedule 'cubic', here it is 'soft'"),
    "learned": (dp.WeightPruning(0.1, "learned"), "criterion 'magnitude'"),
    "movement": (dp.WeightPruning(0.1, "movement"), "criterion 'magnitude'"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_run_does_not_go_on_with_other_masks(other, digits, tmp_path):
    weights, words = OTHERS[other]
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        fitted(digits, dp.WeightPruning(0.1), checkpoint=file, observers=[Kill()], run_id="x")
    with pytest.raises(Refused, match=words):
        fitted(digits, weights, checkpoint=file, run_id="x")


@pytest.mark.parametrize("others", ["seed", "fewer", "more"])
def test_a_run_does_not_go_on_with_other_given_masks(others, digits, tmp_path):
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    masks, seed = ({**make_masks(model, density=0.1, criterion="random", seed=i)} for i in (0, 1))
    few = {"fc1.weight": masks["fc1.weight"]}
    first = few if others == "more" else masks
    second = {"seed": seed, "fewer": few, "more": masks}[others]
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        fitted(digits, GivenMasks(first), checkpoint=file, observers=[Kill()])
    with pytest.raises(Refused, match="not those that this run began with"):
        fitted(digits, GivenMasks(second), checkpoint=file)
    fitted(digits, GivenMasks(first), checkpoint=file)


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
