"""Operations, parameters and latency, dense, masked and made smaller; torch.export and ONNX."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner.masks import cost, exported, latency, make_masks, remove, to_onnx
from datapruner.networks import parameter_count


def pair(name: str = "resnet8", side: int = 16) -> tuple[nn.Module, nn.Module, dict, torch.Tensor]:
    """Return a network, the smaller one with half of its channels, the masks, and a batch."""
    pytest.importorskip("torch_pruning", reason="the structured extra is not installed")
    model, x = dp.make_model(name, 10, (3, side, side)), torch.randn(2, 3, side, side)
    masks = make_masks(model, density=0.5, allocation="uniform", pattern="channel", example=x[:1])
    return model, remove(model, masks, x), masks, x


def test_operations_by_hand():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 3))
    x = torch.zeros(7, 2, 5, 5)
    conv, linear = 2 * 25 * 4 * 2 * 9, 2 * 100 * 3
    assert cost(model, x).flops == conv + linear, "for one row, two to a multiply-add"
    kept = torch.zeros(4, 2, 3, 3, dtype=torch.bool)
    kept[0] = True
    found = cost(model, x, {"0.weight": kept, "0.bias": kept[:, 0, 0, 0]})
    assert found.masked_flops == conv // 4 + linear
    assert found.flops == conv + linear, "a mask alone does not make dense kernels skip anything"
    assert found.active == found.parameters - 3 * 18 - 3
    assert (found.small_flops, found.real_speedup) == (None, None)


def test_both_numbers():
    """Channels: what the mask makes possible is what removal gives. Single weights: none of it."""
    model, small, masks, x = pair()
    found = cost(model, x, masks, small)
    assert found.small_flops == found.masked_flops < found.flops / 2
    assert found.small_parameters == found.active == parameter_count(small)
    assert found.real_speedup == pytest.approx(found.possible_speedup)
    assert found.real_speedup > 2
    single = make_masks(model, density=0.25, criterion="random", skip="classifier")
    found = cost(model, x, single, remove(model, single, x))
    assert found.possible_speedup > 2
    assert found.real_speedup == 1


def test_attention_is_counted():
    """In eval mode torch fuses it into one call that its own counter does not see."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens = 3
    projections, products = 2 * tokens * 8 * (24 + 8), 2 * 2 * tokens * tokens * 8
    wide = 2 * tokens * 2 * 8 * 16
    assert cost(layer, torch.zeros(2, tokens, 8)).flops == projections + products + wide


def test_counting_leaves_the_network_as_it_was():
    model = dp.make_model("resnet8", 10, (3, 16, 16)).train()
    before = model.stem.norm.num_batches_tracked.item()
    cost(model, torch.zeros(2, 3, 16, 16))
    latency(model, model, torch.zeros(2, 3, 16, 16), pairs=1, warmup=0)
    assert model.training
    assert model.stem.norm.num_batches_tracked.item() == before
    assert all(p.grad is None for p in model.parameters())


class Counted(nn.Module):
    """Notes each pass, and whether it was trained in."""

    def __init__(self, name: str, log: list[tuple[str, bool]]):
        super().__init__()
        self.name, self.log = name, log

    def forward(self, x):
        self.log.append((self.name, self.training or torch.is_grad_enabled()))
        return x


def test_pairs_take_turns_and_swap():
    log: list[tuple[str, bool]] = []
    found = latency(Counted("a", log), Counted("b", log), torch.zeros(1), pairs=4, warmup=1)
    assert "".join(name for name, _ in log) == "ab" + "ab" + "ba" + "ab" + "ba"
    assert not any(learning for _, learning in log)
    assert found.pairs == 4
    assert 0 < found.lowest <= found.speedup <= found.highest
    assert found.dense > 0
    assert found.small > 0


def test_the_small_network_as_a_program():
    _, small, _, x = pair("resnet8", 8)
    program = exported(small.train(), x[:1])
    assert small.training
    fresh = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(fresh), small.eval()(fresh))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "torchvision:resnet18"])
@pytest.mark.parametrize("pattern", ["channel", "residual"])
def test_the_small_network_as_onnx(name, pattern, tmp_path):
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if find_spec(n) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    pytest.importorskip("torch_pruning", reason="the structured extra is not installed")
    import onnxruntime

    model, x = dp.make_model(name, 10, (3, 32, 32)), torch.randn(3, 3, 32, 32)
    masks = make_masks(model, density=0.5, pattern=pattern, example=x[:1])
    small = remove(model, masks, x).eval()
    path = to_onnx(small, x[:1], tmp_path / "small.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"], "weights inside"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), small(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", ["channel", "residual", "layer"])
def test_training_with_a_structured_pattern_ends_in_a_smaller_network(pattern):
    """Train and prune in one run, take out what is masked, and train on."""
    pytest.importorskip("torch_pruning", reason="the structured extra is not installed")
    data = dp.open_data("digits")
    loader, run = dp.TensorLoader(data, 64), dp.Run(model="resnet8", epochs=1, seed=0)
    model = dp.make_model("resnet8", 10, data.shape)
    subset = dp.Fixed(torch.arange(256))
    pruning = dp.WeightPruning(0.5, pattern=pattern, allocation="uniform", schedule="cubic")
    dp.fit(model, loader, subset, run, masks=pruning)
    masks = {name: parameter.detach() != 0 for name, parameter in model.named_parameters()}
    small = remove(model, masks, torch.zeros(1, *data.shape))
    assert parameter_count(small) < 0.8 * parameter_count(model)
    assert dp.evaluate(small, loader, torch.arange(256)) == dp.evaluate(
        model, loader, torch.arange(256)
    )
    history = dp.fit(small, loader, subset, run)
    assert history.steps == 4
