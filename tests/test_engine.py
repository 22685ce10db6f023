"""fit and evaluate: the one loop against a plain one, its schedules, and what it leaves alone."""

import math
import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import datapruner as dp
from datapruner import PrunerError, Run, UsageError
from datapruner.data import Data
from datapruner.optimizer import make_optimizer, rate

PLAIN = Run(model="mlp", epochs=2, lr=0.05)


def features(n: int, width: int = 3, classes: int = 2) -> Data:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=rng)
    rows = torch.utils.data.TensorDataset(x, torch.arange(n) % classes)
    return dp.open_data(rows)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


class Ramp(nn.Module):
    """A network whose weight falls by the learning rate in every step, under `sink` below."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.w.item())
        return self.w.expand(len(x), 2)

    def rates(self) -> list[float]:
        values = torch.tensor([*self.seen, self.w.item()], dtype=torch.float64)
        return (-values.diff()).tolist()


def sink(logits: Tensor, batch: dp.Batch, progress: float) -> Tensor:
    return logits[:, 0]


def plain_loop(data: Data, run: Run) -> nn.Module:
    """Train as anybody would by hand: SGD over the same orders, cosine over the steps."""
    loader = dp.TensorLoader(data, run.batch_size, augment="none")
    mean, std = loader.normalise.mean[0], loader.normalise.std[0]
    table = ((torch.arange(256).double() / 255 - mean) / std).float()
    model = dp.make_model(run.model, 10, data.shape, seed=run.seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": run.weight_decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, run.lr, run.momentum, nesterov=True, fused=True)
    sampler = dp.Fixed(seed=run.seed).bind(data.n)
    steps = run.epochs * math.ceil(data.n / run.batch_size)
    step = 0
    for epoch in range(run.epochs):
        order = sampler.draw(epoch)[0]
        for rows in order.tensor_split(math.ceil(len(order) / run.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = run.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            logits = model(table[data.x[rows].long()])
            optimizer.zero_grad()
            functional.cross_entropy(logits, data.labels[rows]).backward()
            optimizer.step()
            step += 1
    return model


def test_fit_is_a_plain_loop_bit_for_bit(digits):
    ours = dp.make_model("mlp", 10, digits.shape)
    history = dp.fit(ours, dp.TensorLoader(digits, augment="none"), None, PLAIN)
    assert torch.equal(weights(ours), weights(plain_loop(digits, PLAIN)))
    assert (history.steps, history.examples) == (24, 2 * digits.n)
    assert [e.epoch for e in history.epochs] == [0, 1]
    assert history.epochs[1].train_loss < history.epochs[0].train_loss
    assert 0 < history.epochs[0].train_accuracy < history.epochs[1].train_accuracy < 1


@pytest.mark.parametrize("augment", ["none", "flip,crop=1,cutout=3"])
def test_both_loaders_lead_to_the_same_weights(digits, augment):
    torn = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(), nn.Linear(32, 10))
    start = {name: p.clone() for name, p in torn.state_dict().items()}
    made = []
    for kind in (dp.TensorLoader, dp.TorchLoader):
        torn.load_state_dict(start)
        dp.fit(torn, kind(digits, 128, augment=augment), dp.RS2(0.2), PLAIN)
        made.append(weights(torn))
    assert torch.equal(*made)


def test_the_weighted_loss_is_divided_by_the_rows(digits):
    """Never by the sum of the weights: a weight of 3 on everything triples the gradient."""
    data = features(4)
    linear = nn.Linear(3, 2)
    before = linear.weight.detach().clone()
    w = torch.tensor([3.0, 0.0, 1.0, 2.0])
    losses = functional.cross_entropy(linear(data.x), data.labels, reduction="none")
    (gradient,) = torch.autograd.grad((w * losses).sum() / 4, linear.weight)
    run = Run(epochs=1, batch_size=4, lr=0.5, momentum=0, weight_decay=0, schedule="constant")
    dp.fit(linear, dp.TensorLoader(data, 4), dp.Fixed(torch.arange(4), w), run)
    torch.testing.assert_close(linear.weight, before - 0.5 * gradient)


def test_observers_see_unweighted_losses_before_the_step_and_plain_rows(digits):
    class Watch:
        def __init__(self) -> None:
            self.events: list[str] = []
            self.losses: list[Tensor] = []

        def observe(self, epoch: int, batch: dp.Batch, logits: Tensor, losses: Tensor) -> None:
            again = linear(batch.x)
            assert torch.equal(again, logits)  # the step has not been taken yet
            plain = functional.cross_entropy(logits, batch.y, reduction="none")
            assert torch.equal(plain, losses)
            assert not logits.requires_grad
            assert torch.equal(data.labels[batch.index], batch.y)
            self.events += [f"batch {epoch}"]

        def end_epoch(self, epoch: int) -> None:
            self.events += [f"end {epoch}"]

        def resume(self, epoch: int) -> None:
            self.events += [f"from {epoch}"]

    data, linear, watch = features(6), nn.Linear(3, 2), Watch()
    sampler = dp.Fixed(torch.arange(6), torch.arange(6.0))
    dp.fit(linear, dp.TensorLoader(data, 4), sampler, Run(epochs=2), observers=[watch])
    epochs = [["batch 0", "batch 0", "end 0"], ["batch 1", "batch 1", "end 1"]]
    assert watch.events == ["from 0", *epochs[0], *epochs[1]]


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "constant"])
@pytest.mark.parametrize(
    ("sampler", "budget", "steps"),
    [
        (None, {"epochs": 4}, 12),  # 10 rows, 4 at a time: 3 steps an epoch
        (dp.RS2(0.4), {"epochs": 5}, 5),  # 4 rows an epoch: the schedule spans 5 steps, not 15
        (dp.RS2(0.4), {"steps": 7}, 7),
        (None, {"steps": 7}, 7),  # ends in the middle of the third epoch
    ],
)
def test_the_rate_follows_progress_over_the_steps_really_taken(schedule, sampler, budget, steps):
    run = Run(batch_size=4, lr=0.3, momentum=0, weight_decay=0, schedule=schedule, **budget)
    ramp = Ramp()
    history = dp.fit(ramp, dp.TensorLoader(features(10), 4), sampler, run, loss=sink)
    assert history.steps == steps
    expected = [rate(run, step / steps) for step in range(steps)]
    assert ramp.rates() == pytest.approx(expected, abs=1e-7)  # a mean of 3 ones, in float32


def test_a_budget_in_steps_ends_in_the_middle_of_an_epoch():
    run = Run(batch_size=4, steps=7)
    history = dp.fit(nn.Linear(3, 2), dp.TensorLoader(features(10), 4), None, run)
    assert [e.steps for e in history.epochs] == [3, 6, 7]
    assert [e.examples for e in history.epochs] == [10, 20, 24]  # 4, 3, 3


def test_rates_by_hand():
    assert [rate(Run(lr=1.0), p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    cycle = Run(lr=1.0, schedule="one-cycle")
    points = [0, 0.125, 0.25, 0.625, 1]
    assert [rate(cycle, p) for p in points] == pytest.approx([0, 0.5, 1, 0.5, 0])
    warm = Run(lr=1.0, schedule="cosine", warmup=0.2)
    points = [0, 0.1, 0.2, 0.6, 1]
    assert [rate(warm, p) for p in points] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert rate(Run(lr=1.0, schedule="constant", warmup=0.5), 0.25) == 0.5


def test_weight_decay_leaves_norms_and_biases_alone():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.GroupNorm(1, 2),
        nn.LayerNorm([8, 8]),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = Run(lr=0.1, weight_decay=0.5, momentum=0, schedule="constant", steps=1)
    data = dp.open_data("digits")
    dp.fit(model, dp.TensorLoader(data), None, run, loss=lambda z, *_: 0 * z.sum(1))
    for name, p in model.named_parameters():
        decayed = name in ("0.weight", "5.weight")
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if decayed else 1.0))
    with pytest.raises(UsageError, match="no parameter that requires a gradient"):
        make_optimizer(nn.ReLU(), run)


def test_gradients_are_clipped_by_the_norm_of_all_of_them():
    run = Run(lr=1.0, momentum=0, weight_decay=0, schedule="constant", steps=1, clip_norm=0.25)
    ramp = Ramp()
    dp.fit(ramp, dp.TensorLoader(features(4)), None, run, loss=lambda z, *_: 8 * z[:, 0])
    assert ramp.w.item() == pytest.approx(-0.25, rel=1e-5)


def test_label_smoothing_is_cross_entropy_against_the_smoothed_target():
    data, linear = features(8), nn.Linear(3, 2)
    target = 0.8 * functional.one_hot(data.labels, 2) + 0.2 / 2
    expected = -(target * linear(data.x).log_softmax(1)).sum(1).mean().item()
    history = dp.fit(linear, dp.TensorLoader(data), None, Run(steps=1, label_smoothing=0.2))
    assert history.epochs[0].train_loss == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_is_no_longer_finite_is_an_error_by_name(digits, tmp_path):
    model = dp.make_model("mlp", 10, digits.shape)
    with pytest.raises(PrunerError, match=r"not finite in epoch 1; lower lr \(1e\+06\)"):
        dp.fit(model, dp.TensorLoader(digits), None, Run(lr=1e6), checkpoint=tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("kind", [dp.TensorLoader, dp.TorchLoader])
def test_the_global_generators_are_left_alone(digits, kind):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))
    loader = kind(digits)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    dp.fit(model, loader, dp.RS2(0.1), Run(epochs=2))
    dp.evaluate(model, loader, torch.arange(9))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


def test_dropout_depends_on_the_seed_and_on_nothing_else(digits):
    made = []
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        model = deepcopy(net)
        dp.fit(model, dp.TensorLoader(digits), dp.Fixed(seed=0), Run(epochs=1, seed=seed))
        made.append(weights(model))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_loss_that_is_a_mean_already_is_refused(digits):
    """The weights of the examples would count for nothing."""
    weighted = dp.Fixed(torch.arange(digits.n), torch.rand(digits.n))
    model = dp.make_model("mlp", 10, digits.shape)
    with pytest.raises(UsageError, match=r"the loss gave shape \(\) for a batch of 120.*reduction"):
        dp.fit(
            model,
            dp.TensorLoader(digits),
            weighted,
            PLAIN,
            loss=lambda logits, batch, progress: functional.cross_entropy(logits, batch.y),
        )


def test_a_start_that_does_not_fit_changes_nothing(digits):
    model = dp.make_model("mlp", 10, digits.shape)
    before = weights(model)
    zero = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    for wrong in (zero | {"fc3.bias": torch.zeros(3)}, zero | {"fc4.bias": torch.zeros(3)}):
        with pytest.raises(dp.Refused, match="start: holds the weights of another network"):
            dp.fit(model, dp.TensorLoader(digits), None, PLAIN, start=wrong)
    with pytest.raises(dp.Refused):
        dp.fit(model, dp.TensorLoader(digits), None, PLAIN, start=dict(list(zero.items())[:-1]))
    assert torch.equal(weights(model), before)


def test_steps_done_before_are_a_number_of_them(digits):
    model = dp.make_model("mlp", 10, digits.shape)
    for begun in (-1, 10, 11):
        with pytest.raises(UsageError, match=f"{begun} steps are done of 10"):
            dp.fit(model, dp.TensorLoader(digits), None, Run(steps=10), begun=begun)


def test_a_checkpoint_is_of_the_sampler_the_batches_and_the_labels_too(digits, tmp_path):
    """None of them is in the id of a run, for they are handed over."""
    file, first = tmp_path / "checkpoint.safetensors", dp.TensorLoader(digits)
    other = replace(digits, labels=digits.labels.flip(0))
    ways = {
        "sampler": (first, dp.InfoBatch(2)),
        "first epoch": (first, dp.Fixed(torch.arange(99))),
        "batch size": (dp.TensorLoader(digits, 64), None),
        "labels": (dp.TensorLoader(other), None),
    }
    dp.fit(dp.make_model("mlp", 10, digits.shape), first, None, PLAIN, checkpoint=file)
    for name, (loader, sampler) in ways.items():
        model = dp.make_model("mlp", 10, digits.shape)
        before = weights(model)
        with pytest.raises(dp.Refused, match=f"was written with another {name}"):
            dp.fit(model, loader, sampler, PLAIN, checkpoint=file)
        assert torch.equal(weights(model), before)
