"""evaluate and predict; precision, batch norms and devices in the one loop."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import datapruner as dp
from datapruner import PrunerError, Run, UsageError
from datapruner.evaluation import predict


def test_evaluate_counts_what_is_right(digits):
    model = dp.make_model("mlp", 10, digits.shape)
    loader = dp.TensorLoader(digits)
    rows = torch.tensor([5, 9, 700])
    (batch,) = loader(rows, train=False)
    right = (model(batch.x).argmax(1) == digits.labels[rows]).double().mean().item()
    assert dp.evaluate(model, loader, rows) == right
    with pytest.raises(PrunerError, match="nothing to evaluate on"):
        dp.evaluate(model, loader, rows[:0])


def mixed_modes() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10), nn.Dropout())
    model.train()
    model[2].eval()
    return model


def test_modes_are_put_back_part_by_part(digits):
    model, loader = mixed_modes(), dp.TensorLoader(digits)
    modes = [m.training for m in model.modules()]
    dp.evaluate(model, loader)
    assert [m.training for m in model.modules()] == modes
    for _, logits in predict(model, loader):
        assert not model.training
        assert not logits.requires_grad
        assert torch.is_grad_enabled()  # the caller's code runs in the caller's settings
        break
    assert [m.training for m in model.modules()] == modes
    model.append(nn.Linear(3, 3))  # does not fit: the pass breaks off in the forward
    with pytest.raises(RuntimeError):
        dp.evaluate(model, loader)
    assert [m.training for m in model.modules()] == [*modes, True]


# -- precision -----------------------------------------------------------------------------------


def test_bf16_keeps_the_classifier_in_float32(digits):
    """bf16 logits have 8 bits, which leaves a few hundred margins among any number of examples."""
    model = dp.make_model("lenet", 10, digits.shape)
    recorder = dp.Recorder(digits.n)

    class Record:
        def observe(self, epoch: int, batch: dp.Batch, logits: Tensor, losses: Tensor) -> None:
            assert logits.dtype == losses.dtype == torch.float32
            recorder.observe(epoch, batch.index, logits, batch.y)

        def end_epoch(self, epoch: int) -> None: ...
        def resume(self, epoch: int) -> None: ...

    run = Run(steps=3, precision="bf16", lr=0.01)
    dp.fit(model, dp.TensorLoader(digits), None, run, observers=[Record()])
    assert all(p.dtype == torch.float32 for p in model.parameters())
    margin = recorder.close().trace("margin")[0]
    margin = margin[margin.isfinite()]
    assert len(margin) == 3 * 120  # 1,438 rows in 12 batches, of which the first ten have 120
    assert len(margin.unique()) > 355
    assert len(margin.bfloat16().unique()) < 330  # what it would be otherwise


def test_float32_means_float32_inside_somebody_elses_autocast(digits):
    model, loader = dp.make_model("lenet", 10, digits.shape), dp.TensorLoader(digits)
    rows = torch.arange(8)
    ((_, plain),) = predict(model, loader, rows, precision="float32")
    with torch.autocast("cpu", torch.bfloat16):
        ((_, inside),) = predict(model, loader, rows, precision="float32")
    assert torch.equal(plain, inside)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_compiled_network_is_compiled_once(digits, precision, monkeypatch):
    """Twice here, for 360 rows and for 359. Not once an epoch, whatever happens in between."""
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        compiled.append(1)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    model, loader = dp.make_model("mlp", 10, digits.shape), dp.TensorLoader(digits, 400)
    run = Run(epochs=4, batch_size=400, precision=precision, compile=True)
    dp.fit(model, loader, None, run, test=loader)
    assert len(compiled) == 2
    assert not any("forward" in vars(m) for m in model.modules())


# -- batch norm ----------------------------------------------------------------------------------


def test_a_lone_last_row_is_trained_on_by_the_running_statistics():
    """PyTorch refuses it; leaving it out would leave an example unvisited."""
    rows = torch.utils.data.TensorDataset(torch.randn(3, 3), torch.arange(3) % 2)
    data = dp.open_data(rows)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    recorder, seen = dp.Recorder(3), []

    class Watch:
        def observe(self, epoch: int, batch: dp.Batch, logits: Tensor, losses: Tensor) -> None:
            recorder.observe(epoch, batch.index, logits, batch.y)
            seen.append((len(batch.y), int(model[1].num_batches_tracked)))

        def end_epoch(self, epoch: int) -> None:
            assert model[1].training

        def resume(self, epoch: int) -> None: ...

    run = Run(epochs=2, batch_size=2, lr=0.01)
    history = dp.fit(model, dp.TensorLoader(data, 2), None, run, observers=[Watch()])
    assert seen == [(2, 1), (1, 1), (2, 2), (1, 2)]
    assert (history.steps, history.examples) == (4, 6)
    assert recorder.close().trace("loss").isfinite().all()


@pytest.mark.parametrize("device", ["cuda:99", "mps", "tpu", "cuda:x"])
def test_a_device_that_is_not_there_is_named(digits, device):
    with pytest.raises(UsageError, match=f"device '{device}'"):
        dp.fit(nn.Linear(2, 2), dp.TensorLoader(digits), None, Run(device=device))
