import copy
import re
import sys
from collections import OrderedDict

import pytest
import torch
from torch import nn

from datapruner.errors import PrunerError, UsageError
from datapruner.heads import classifier, features, float32_classifier
from datapruner.models import MODELS, make_model
from datapruner.networks import parameter_count

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 47)]

# Worked out by hand from the papers' tables (option B shortcuts, batch norm's two vectors each).
PARAMETERS = {
    ("mlp", (1, 28, 28)): 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10,
    ("lenet", (1, 28, 28)): 156 + 2416 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10,
    ("resnet8", (3, 32, 32)): 78_042,
    ("resnet20", (3, 32, 32)): 272_474,
    ("resnet9", (3, 32, 32)): 6_573_120,
    ("resnet18", (3, 32, 32)): 11_173_962,
}


def toy() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_every_picture_size(name, shape):
    model = make_model(name, 7, shape).eval()
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(x)
        last = model(x.contiguous(memory_format=torch.channels_last))
    assert logits.shape == (2, 7)
    torch.testing.assert_close(last, logits)


@pytest.mark.parametrize(("name", "shape"), PARAMETERS)
def test_parameter_counts(name, shape):
    assert parameter_count(make_model(name, 10, shape)) == PARAMETERS[name, shape]


def test_every_named_model_has_a_parameter_count_here():
    assert {name for name, _ in PARAMETERS} == set(MODELS)


@pytest.mark.parametrize("name", [*MODELS, "torchvision:squeezenet1_1"])
def test_a_gradient_reaches_every_parameter(name):
    model = make_model(name, 4, (3, 32, 32))
    model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["mlp", "resnet8", "bag:50", "torchvision:squeezenet1_1"])
def test_weights_are_a_function_of_the_seed_alone(name):
    shape = (12,) if name == "bag:50" else (3, 32, 32)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make_model(name, 10, shape, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = make_model(name, 10, shape, seed=3)
    other = make_model(name, 10, shape, seed=4)
    assert all(map(torch.equal, one.parameters(), again.parameters()))
    assert not all(map(torch.equal, one.parameters(), other.parameters()))
    assert one.training
    assert all(module.training for module in one.modules())


def test_rows_of_features_and_tokens():
    assert make_model("mlp", 3, (20,))(torch.zeros(4, 20)).shape == (4, 3)
    bag = make_model("bag:50", 3, (6,))
    short = torch.tensor([[7, 9]])
    padded = torch.tensor([[7, 9, 0, 0]])
    assert torch.equal(bag(short), bag(padded))  # padding does not count


def test_tokens_and_floats_are_told_apart():
    for name, x, words in (
        (
            "bag:50",
            torch.zeros(2, 6),
            "rows of token ids, whole numbers; .* float32; use mlp",
        ),
        ("mlp", torch.zeros(2, 6, dtype=torch.int64), "takes floats, these examples are int64"),
    ):
        with pytest.raises(UsageError, match=words):
            make_model(name, 3, (6,))(x)


def test_torchvision_grey_pictures_and_the_state_dict():
    model = make_model("torchvision:squeezenet1_1", 5, (1, 32, 32)).eval()
    colour = make_model("torchvision:squeezenet1_1", 5, (3, 32, 32)).eval()
    x = torch.rand(2, 1, 32, 32)
    assert list(model.state_dict()) == list(colour.state_dict())
    assert torch.equal(model(x), colour(x.expand(-1, 3, -1, -1)))


def test_torchvision_vit_is_built_for_the_size_of_the_pictures():
    assert make_model("torchvision:vit_b_32", 5, (3, 32, 32)).training


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_torchvision_models_with_auxiliary_heads_give_plain_logits(name):
    model = make_model(f"torchvision:{name}", 5, (3, 80, 80))
    assert model(torch.zeros(2, 3, 80, 80)).shape == (2, 5)
    assert classifier(model, 5) is model.fc


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("resnet21", (3, 32, 32), "did you mean 'resnet20'"),
        ("nothing like it", (3, 32, 32), "known: mlp, lenet"),
        ("torchvision:resnet17", (3, 32, 32), "did you mean 'resnet1"),
        ("torchvision:alexnet", (3, 16, 16), "cannot take pictures of 16x16"),
        ("torchvision:vit_b_16", (3, 30, 30), "cannot take pictures of 30x30"),
        ("torchvision:resnet18", (4, 32, 32), "1 or 3 channels, these pictures have 4"),
        ("resnet8", (64,), "use mlp"),
        ("lenet", (1, 7, 8), "from 8x8 up"),
        ("bag:", (4,), "as in bag:30000"),
        ("bag:50", (1, 8, 8), "takes rows of token ids, these examples have shape (1, 8, 8)"),
        ("bag:many", (4,), "as in bag:30000"),
        ("no_such_package:make", (4,), "cannot be imported"),
        ("math:no_such_function", (4,), "cannot be imported"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(name, shape, words):
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        make_model(name, 10, shape)
    assert "\n" not in str(caught.value)


def test_no_classes_is_refused():
    with pytest.raises(UsageError, match="at least one class"):
        make_model("mlp", 0, (4,))


FACTORIES = """
from torch import nn

def plain(num_classes):
    return nn.Linear(4, num_classes)

def shaped(num_classes, shape):
    return nn.Linear(shape[0], num_classes)

def wrong(num_classes):
    return "a network"

def broken(num_classes):
    raise KeyError("oh")

def deaf():
    return nn.Linear(4, 2)
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A module of the user's own in the current folder, which is not on the path."""
    (tmp_path / "my_networks.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_networks"
    sys.modules.pop("my_networks", None)


def test_a_factory_of_the_users_own(own_package):
    assert make_model(f"{own_package}:plain", 3, (4,)).out_features == 3
    model = make_model(f"{own_package}:shaped", 3, (9,), seed=1)
    assert model.in_features == 9
    assert torch.equal(model.weight, make_model(f"{own_package}:shaped", 3, (9,), seed=1).weight)


def test_a_factory_that_fails_is_named(own_package):
    with pytest.raises(UsageError, match="has to return an nn.Module"):
        make_model(f"{own_package}:wrong", 3, (4,))
    with pytest.raises(PrunerError, match="my_networks:broken failed with KeyError: 'oh'"):
        make_model(f"{own_package}:broken", 3, (4,))
    with pytest.raises(PrunerError, match="my_networks:deaf failed with TypeError"):
        make_model(f"{own_package}:deaf", 3, (4,))


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_float32_under_autocast_and_everything_is_put_back(name):
    model = make_model(name, 10, (3, 32, 32)).eval()
    x = torch.randn(2, 3, 32, 32)
    keys = list(model.state_dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with float32_classifier(model) as layer, features(model) as caught:
            logits = model(x)
            assert list(model.state_dict()) == keys
        assert model(x).dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert "forward" not in vars(layer)
    assert not layer._forward_pre_hooks
    exact = nn.functional.linear(caught.last.float(), layer.weight, layer.bias)
    assert torch.equal(logits, exact)


def test_float32_logits_have_many_more_distinct_values():
    model = toy()
    x = torch.randn(4000, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model(x).unique().numel()
        with float32_classifier(model):
            fine = model(x).unique().numel()
    assert fine > 5 * rough


def test_the_precision_is_that_of_the_weights():
    model = toy().double()
    with float32_classifier(model):
        assert model(torch.zeros(2, 6).double()).dtype == torch.float64


def test_blocks_nest_and_survive_an_error():
    model = toy()
    with float32_classifier(model) as layer:
        outer = layer.forward
        with pytest.raises(KeyError), float32_classifier(model):
            raise KeyError
        assert layer.forward is outer
    assert "forward" not in vars(layer)


def test_a_copy_made_inside_the_block_computes_with_its_own_weights():
    model = toy()
    with float32_classifier(model):
        twin = copy.deepcopy(model)
    with torch.no_grad():
        classifier(twin).weight.zero_()
        classifier(twin).bias.fill_(2.0)
    assert torch.equal(twin(torch.randn(1, 6)), torch.full((1, 3), 2.0))


def test_the_block_is_traceable_by_torch_compile():
    model = toy()
    with torch.autocast("cpu", torch.bfloat16), float32_classifier(model):
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert compiled(torch.zeros(2, 6)).dtype == torch.float32


def test_features_are_the_input_of_the_classifier_with_a_gradient():
    model = toy()
    x = torch.randn(2, 6)
    with features(model) as caught:
        model(x)
    assert torch.equal(caught.last, model[:2](x))
    assert caught.last.requires_grad


def test_classifier_goes_by_width_where_it_is_told_and_by_the_models_word():
    model = nn.Sequential(OrderedDict(fc=nn.Linear(4, 3), auxiliary=nn.Linear(4, 2)))
    assert classifier(model) is model.auxiliary
    assert classifier(model, 3) is model.fc
    model.get_classifier = lambda: model.fc
    assert classifier(model) is model.fc


def test_no_classifier_is_an_error_that_says_what_to_do():
    with pytest.raises(UsageError, match="no nn.Linear of 9 outputs .* get_classifier"):
        classifier(toy(), 9)
    with pytest.raises(UsageError, match="no nn.Linear of any width"):
        classifier(make_model("torchvision:squeezenet1_1", 5, (3, 32, 32)))
