"""Teachers by the words that name them, and runs that have one."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import datapruner as dp
from datapruner import PrunerError, Refused, Run, UsageError
from datapruner.checkpoint import weights_hash
from datapruner.distill_specs import DistillSpec
from datapruner.files import read_json
from datapruner.noise import flip_labels
from datapruner.sampler_specs import RS2Spec
from datapruner.teacher_words import read_weights
from datapruner.weight_specs import WeightPruning

FULL = Run(model="mlp", epochs=5, lr=0.05, seed=7)
VIEWS = Run(augment="crop=1", batch_size=500)


@pytest.fixture(scope="module")
def full(digits, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "full"
    dp.train(FULL, digits, out=folder)
    return str(folder)


@pytest.fixture(scope="module")
def net(digits, full) -> nn.Module:
    return dp.train(FULL, digits, out=full)[0]


def logits_of(teacher, loader, order=None, **options) -> torch.Tensor:
    asked, order = teacher.bind(loader), torch.arange(200) if order is None else order
    return torch.cat([asked(batch) for batch in loader(order, **options)])


@pytest.fixture(scope="module")
def plain(digits, net, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cached") / "plain"
    dp.cache_teacher(digits, net, folder)
    return str(folder)


@pytest.fixture(scope="module")
def viewed(digits, net, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cached") / "viewed"
    dp.cache_teacher(digits, net, folder, views=2, run=VIEWS)
    return str(folder)


# -- words ---------------------------------------------------------------------------------------


def test_a_run_is_a_teacher_by_its_folder(digits, full, net):
    teacher, loader = dp.load_teacher(full, digits), dp.TensorLoader(digits)
    assert teacher.fingerprint == weights_hash(net)
    assert torch.equal(logits_of(teacher, loader), logits_of(dp.Distill(net).teacher, loader))


def test_a_record_is_one_too(digits, tmp_path):
    record = dp.record(digits, Run(model="mlp", epochs=1), tmp_path / "record")
    teacher = dp.load_teacher(str(tmp_path / "record"), digits)
    assert teacher.fingerprint == record.about["model_hash"]


def test_weights_come_in_every_safe_dress(digits, net, tmp_path):
    state = net.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "p.pt")
    for file in ("w.safetensors", "w.pt", "p.pt"):
        teacher = dp.load_teacher(f"mlp@{tmp_path / file}", digits)
        assert teacher.fingerprint == weights_hash(net)


def test_a_factory_and_a_torchvision_network_take_weights(digits, tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    mine = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    torch.save(mine.state_dict(), "mine.pt")
    assert dp.load_teacher("my_nets:small@mine.pt", digits).fingerprint == weights_hash(mine)
    name = "torchvision:resnet18"
    large = dp.make_model(name, 10, (1, 8, 8), seed=3)
    torch.save(large.state_dict(), "large.pt")
    assert dp.load_teacher(f"{name}@large.pt", digits).fingerprint == weights_hash(large)


def test_several_words_are_an_ensemble(digits, full, tmp_path):
    other = tmp_path / "other"
    dp.train(replace(FULL, seed=8), digits, out=other)
    loader = dp.TensorLoader(digits)
    one, two = (logits_of(dp.load_teacher(str(w), digits), loader) for w in (full, other))
    both = dp.load_teacher(f"{full},{other}", digits)
    assert torch.allclose(logits_of(both, loader), (one + two) / 2, atol=1e-6)
    assert len({both.fingerprint, dp.load_teacher(full, digits).fingerprint}) == 2


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("nowhere", UsageError, "no such folder; give the folder of a trained run"),
        ("torchvision:resnet18", UsageError, "has random weights; give a file"),
        ("mlp@nowhere.pt", PrunerError, "nowhere.pt: no such file"),
        ("mlq@{full}/model.safetensors", UsageError, "did you mean 'mlp'"),
        ("lenet@{full}/model.safetensors", Refused, "weights of another network"),
        ("mlp@{full}/run.json", PrunerError, "cannot be read as weights"),
        ("{empty}", UsageError, "holds no finished run"),
    ],
)
def test_words_that_name_no_teacher_are_refused_in_a_line(
    word, error, said, digits, full, tmp_path
):
    (tmp_path / "empty").mkdir()
    word = word.format(full=full, empty=tmp_path / "empty")
    with pytest.raises(error, match=said) as raised:
        dp.load_teacher(word, digits)
    assert "\n" not in str(raised.value)


def test_files_that_hold_more_than_tensors_are_not_run(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(PrunerError, match=r"save the network's state_dict\(\), and nothing else"):
        read_weights(tmp_path / "whole.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(PrunerError, match="holds no state_dict"):
        read_weights(tmp_path / "list.pt")


def test_a_run_on_other_data_or_pictures_is_refused(digits, full):
    other, _ = flip_labels(digits, 0.1)
    with pytest.raises(Refused, match="trained on other data"):
        dp.load_teacher(full, other)
    with pytest.raises(Refused, match="image_size 0, this run has 16"):
        dp.load_teacher(full, digits, run=Run(image_size=16))


def test_a_record_of_another_network_is_refused_by_name(digits, tmp_path):
    """The reader of records says so in a line as well, where torch would give a page."""
    record = dp.record(digits, Run(model="mlp", epochs=1), tmp_path / "r")
    record.about["settings"]["model"] = "lenet"
    with pytest.raises(Refused, match="weights of another network"):
        dp.embed(digits, record)


# -- runs that have a teacher ----------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_student_goes_on_to_the_same_weights(digits, viewed, full, epoch, tmp_path):
    for number, word in enumerate((viewed, full)):
        run = Run(
            model="lenet",
            epochs=4,
            lr=0.02,
            augment="crop=1",
            sampler=RS2Spec(0.3),
            distill=DistillSpec(word),
        )
        model, history = dp.train(run, digits)
        out = tmp_path / str(number)

        def progress(text: str, done: int, total: int) -> None:
            if text == f"epoch {epoch}" and done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dp.train(run, digits, out=out, progress=progress)
        again, resumed = dp.train(run, digits, out=out)
        assert weights_hash(again) == weights_hash(model)
        for a, b in zip(history.epochs, resumed.epochs, strict=True):
            assert (a.train_loss, a.train_accuracy) == (b.train_loss, b.train_accuracy)


# -- the run's id --------------------------------------------------------------------------------


def test_a_run_is_named_by_its_teachers_fingerprint(digits, full, plain, tmp_path):
    run = Run(model="mlp", epochs=1, distill=DistillSpec(full))
    held = {}
    for name, word in (("a", full), ("b", plain)):
        dp.train(replace(run, distill=DistillSpec(word)), digits, out=tmp_path / name)
        held[name] = read_json(tmp_path / name / "run.json")
        teacher = dp.load_teacher(word, digits)
        assert held[name]["fingerprints"]["teacher"] == teacher.fingerprint
        assert json.loads((tmp_path / name / "distill.json").read_text())["weight"] > 0
    assert held["a"]["id"] != held["b"]["id"]
    with pytest.raises(Refused, match="holds another run"):
        dp.train(replace(run, distill=DistillSpec(plain)), digits, out=tmp_path / "a")


def test_an_ensemble_with_stored_views_shows_them(digits, full, viewed, tmp_path):
    run = Run(model="mlp", epochs=2, augment="crop=1", distill=DistillSpec(f"{full},{viewed}"))
    dp.train(run, digits, out=tmp_path / "a")
    assert read_json(tmp_path / "a" / "distill.json")["views"] == (
        "recomputed on the view that the student sees; cached for 2 stored views, augmentation "
        "seed 0"
    )


def test_a_teacher_and_weight_masks_compose(digits, full):
    run = Run(model="mlp", epochs=3, lr=0.05, weights=WeightPruning(0.2))
    taught, history = dp.train(replace(run, distill=DistillSpec(full, 0.5)), digits)
    alone, _ = dp.train(run, digits)
    for model in (taught, alone):
        weights = torch.cat([m.weight.flatten() for m in model if isinstance(m, nn.Linear)])
        assert float((weights != 0).float().mean()) == pytest.approx(0.2, abs=1e-3)
    assert weights_hash(taught) != weights_hash(alone)
    assert history.epochs[-1].active is not None


def test_a_loss_beside_a_teacher_is_refused(digits, full):
    run = Run(model="mlp", epochs=1, distill=DistillSpec(full))
    with pytest.raises(UsageError, match="loss and run.distill are both given"):
        dp.train(run, digits, loss=dp.cross_entropy)


def test_a_spec_of_weight_0_trains_as_if_there_were_none(digits, viewed):
    run = Run(model="mlp", epochs=2, augment="crop=1", seed=3)
    plain_model, _ = dp.train(run, digits)
    taught, _ = dp.train(replace(run, distill=DistillSpec(viewed, 0.0)), digits)
    assert weights_hash(taught) == weights_hash(plain_model)
