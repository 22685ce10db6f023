"""Masks beside a run: given ones, controls, reports, averages, and those of torch."""

import pytest
import torch
from masked_runs import fitted, zeros
from torch.nn.utils import prune as torch_prune

import datapruner as dp
from datapruner.masks import GivenMasks, make_masks


def test_masks_that_are_given_stay_and_a_start_is_taken():
    digits = dp.open_data("digits")
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    masks = make_masks(model, density=0.1, criterion="random", allocation="erk")
    first = {k: v.clone() for k, v in model.state_dict().items()}
    trained, _ = fitted(digits, GivenMasks(masks), model=model, start=first)
    assert all((trained.get_parameter(k)[~m] == 0).all() for k, m in masks.items())
    assert zeros(trained) == 50200 - 5020


def test_an_average_of_the_weights_is_masked_at_the_end():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    average = torch.optim.swa_utils.AveragedModel(model)
    masks = make_masks(model, density=0.1)
    average.update_parameters(model)
    dp.masks.apply_masks(average.module, masks)
    assert zeros(average) == 50200 - 5020


def test_the_report_has_the_density_of_each_layer():
    model = dp.make_model("mlp", 10, (1, 8, 8))
    masks = make_masks(model, density=0.1, allocation="uniform", skip="classifier")
    found = dp.masks.density_report(model, masks)
    assert found["layers"] == pytest.approx({"fc1.weight": 0.1, "fc2.weight": 0.1}, abs=1e-4)
    assert (found["kept"], found["weights"], found["parameters"]) == (4920, 49200, 50610)
    assert found["active"] == 50610 - 49200 + 4920
    for wrong in ({"fc9.weight": masks["fc1.weight"]}, {"fc1.weight": masks["fc2.weight"]}):
        with pytest.raises(dp.UsageError, match="mask of fc"):
            dp.masks.density_report(model, wrong)


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


@pytest.mark.parametrize(
    ("pattern", "density", "words"),
    [
        ("channel", 0.5, "leaves out whole outputs"),
        ("row", 0.9, "leaves out whole outputs"),
        ("2:4", 0.5, "keeps 2:4 of its inputs"),
        ("4x4", 0.5, "is made of blocks"),
        ("layer", 0.7, "keep or leave out whole parameters"),
    ],
)
def test_masks_of_a_pattern_are_no_single_weights_to_redraw(pattern, density, words):
    model = dp.make_model("resnet8", 10, (3, 8, 8))
    example, skip = torch.zeros(1, 3, 8, 8), "first,stem*,classifier"
    options = {"allocation": "uniform"} if pattern == "channel" else {}
    masks = make_masks(
        model, density=density, pattern=pattern, example=example, skip=skip, **options
    )
    with pytest.raises(dp.UsageError, match=f"{words}.*make_masks.model, criterion="):
        dp.masks.redrawn(masks)


@pytest.mark.parametrize("density", [0.2, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("criterion", ["random", "snip", "wanda"])
def test_inputs_that_are_always_0_make_no_pattern(criterion, density):
    """Whole columns go with them, and they are redrawn like any weights."""
    model = dp.make_model("mlp", 10, (1, 8, 8))
    x = torch.rand(64, 1, 8, 8) * (torch.arange(8) > 2)
    batches = [(x, torch.arange(64) % 10)]
    masks = make_masks(model, density=density, criterion=criterion, loader=batches)
    drawn = dp.masks.redrawn(masks)
    assert [int(m.sum()) for m in drawn.values()] == [int(m.sum()) for m in masks.values()]
