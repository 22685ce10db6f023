"""Self-supervised encoders: losses by hand, no label anywhere, and runs that are killed."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import datapruner as dp
from datapruner import Run
from datapruner.embedded import embed_to, load_embedding
from datapruner.encoders import load_network
from datapruner.knn import knn_accuracy
from datapruner.knn_probe import knn_probe
from datapruner.selfsup import SelfSup, pretrain
from datapruner.selfsup_losses import NTXent, VICReg, nt_xent, vicreg

RUN = Run(model="lenet", epochs=2, batch_size=256, lr=0.05)


def test_nt_xent_by_hand():
    """Two pairs of orthogonal views: a partner at cosine 1, two others at 0."""
    found = nt_xent(torch.eye(2), 3 * torch.eye(2), temperature=0.5)
    expected = math.log(math.exp(2) + 2) - 2
    assert found.tolist() == pytest.approx([expected] * 2, rel=1e-6)


def by_definition(one: Tensor, other: Tensor, temperature: float) -> float:
    """Walk all 2b views as the paper writes the loss."""
    rows = [r / r.norm() for r in (*one, *other)]
    b, losses = len(one), []
    for i in range(2 * b):
        near = [math.exp(float(rows[i] @ rows[k]) / temperature) for k in range(2 * b) if k != i]
        partner = math.exp(float(rows[i] @ rows[(i + b) % (2 * b)]) / temperature)
        losses.append(-math.log(partner / sum(near)))
    return sum(losses) / (2 * b)


def test_nt_xent_is_its_definition():
    one, other = torch.randn(5, 4), torch.randn(5, 4)
    found = nt_xent(one, other, 0.2)
    assert found.mean().item() == pytest.approx(by_definition(one, other, 0.2), rel=1e-5)
    torch.testing.assert_close(found, nt_xent(other, one, 0.2))
    assert nt_xent(one[:1], other[:1]).tolist() == [0.0]  # nobody else to take it for


def test_vicreg_by_hand():
    one = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    other = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # invariance: (0 + 4) / 2 and (4 + 4) / 2. Spread of `one`: sqrt(2), sqrt(8), of `other` .01
    # twice. Covariance of `one`: -4, twice off the diagonal: 32 / 2.
    batch = 25 * (1 - 0.01) / 2 + 32 / 2
    assert vicreg(one, other).tolist() == pytest.approx([50 + batch, 100 + batch], rel=1e-5)
    assert vicreg(one[:1], other[:1]).tolist() == [50.0]


@pytest.mark.parametrize("loss", [nt_xent, vicreg])
def test_gradients_are_right(loss, monkeypatch):
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the check needs the digits
    one, other = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b).double(), (one, other))


@pytest.mark.parametrize(("spec", "loss"), [(NTXent(0.3), nt_xent), (VICReg(), vicreg)])
def test_the_losses_of_fit_take_both_projections_side_by_side(spec, loss):
    one, other = torch.randn(4, 6), torch.randn(4, 6)
    options = {"temperature": 0.3} if loss is nt_xent else {}
    found = spec(torch.cat([one, other], 1), None)
    assert torch.equal(found, loss(one, other, **options))


class Unreadable(Tensor):
    """Labels that may be counted, and whose values nobody may have."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is Tensor.__len__ or getattr(func, "__name__", "") == "__get__":
            return super().__torch_function__(func, types, args, kwargs or {})
        raise AssertionError(f"a label was read, by {func}")


@pytest.mark.parametrize("method", ["simclr", "vicreg"])
def test_no_label_is_read(digits, method, tmp_path):
    """From the pictures to the prototype scores; and noise for labels changes no bit."""
    secret = digits.labels.clone().as_subclass(Unreadable)
    with pytest.raises(AssertionError, match="a label was read"):
        secret.sum()
    noise = torch.randint(0, 10, (digits.n,))
    found = []
    for name, labels in (("secret", secret), ("noise", noise)):
        data = dataclasses.replace(digits, labels=labels)
        pretrain(data, method, run=RUN, out=tmp_path / name)
        encoder = load_network(str(tmp_path / name), data)
        embed_to(data, encoder, tmp_path / f"rows-{name}")
        rows, _ = load_embedding(tmp_path / f"rows-{name}", data)
        assert (dp.embed(data, encoder.model) == rows).all()
        score = dp.score({"embedding": rows}, ["prototypes"], options={"prototypes": {"k": 10}})
        found.append((encoder.about["weights"], rows.tobytes(), score["prototypes"].tobytes()))
    assert found[0] == found[1]


def test_the_probe_reads_labels_and_gives_nothing_back(digits):
    lines: list[str] = []
    probed, _ = pretrain(digits, run=RUN, observers=[knn_probe(digits, lines.append)])
    plain, _ = pretrain(digits, run=RUN)
    assert [line.split(":")[0] for line in lines] == ["kNN accuracy", "epoch 1", "epoch 2"]
    pairs = zip(probed.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class Killed(Exception):
    """Stands for a signal."""


@pytest.mark.parametrize("method", ["simclr", "vicreg"])
def test_a_killed_run_ends_in_the_same_bytes(digits, method, tmp_path):
    def stop(text: str, done: int, total: int) -> None:
        if text == "epoch 2" and done == 3:
            raise Killed

    with pytest.raises(Killed):
        pretrain(digits, method, run=RUN, out=tmp_path / "killed", progress=stop)
    assert (tmp_path / "killed" / "checkpoint.safetensors").exists()
    for name in ("killed", "whole"):
        _, history = pretrain(digits, method, run=RUN, out=tmp_path / name)
        assert len(history.epochs) == 2
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert ends[0] == ends[1]
    with pytest.raises(dp.Refused, match="holds another run"):
        pretrain(digits, SelfSup(method, width=64), run=RUN, out=tmp_path / "whole")


def test_both_learn(digits):
    for method in ("simclr", "vicreg"):
        _, history = pretrain(digits, method, run=dataclasses.replace(RUN, epochs=3))
        losses = [epoch.train_loss for epoch in history.epochs]
        assert losses[-1] < losses[0] - 0.02, method


def test_knn_accuracy_votes_by_likeness():
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    labels, asked = torch.tensor([0, 1, 1]), torch.tensor([[9.0, 1.0], [1.0, 9.0]])
    assert knn_accuracy(bank, labels, asked, torch.tensor([0, 1]), k=3) == 1.0
    assert knn_accuracy(bank, labels, asked, torch.tensor([1, 1]), k=3) == 0.5
    with pytest.raises(dp.UsageError, match="rows and as many labels"):
        knn_accuracy(bank, labels[:2], asked, labels[:2])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"method": "simclear"}, "did you mean 'simclr'"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"hidden": 1}, "hidden of at least 2"),
    ],
)
def test_impossible_settings_are_refused(spec, message):
    with pytest.raises(dp.UsageError, match=message):
        SelfSup(**spec)


def test_what_cannot_be_trained_is_said_before_anything(digits, tmp_path):
    rows = dp.open_data(torch.utils.data.TensorDataset(torch.randn(9, 3), torch.arange(9) % 2))
    with pytest.raises(dp.UsageError, match="not a set of small pictures"):
        pretrain(rows, run=RUN, out=tmp_path / "a")
    with pytest.raises(dp.UsageError, match="takes pictures of one size"):
        pretrain(digits, SelfSup(size=6), run=dataclasses.replace(RUN, model="mlp"))
    wide = torch.utils.data.TensorDataset(digits.x[:9].repeat(1, 1, 1, 2), torch.arange(9) % 2)
    with pytest.raises(dp.UsageError, match="views of 8 pixels are another than the data's"):
        pretrain(dp.open_data(wide), SelfSup(size=8), run=RUN)
    with pytest.raises(dp.UsageError, match="no model is called"):
        pretrain(digits, run=Run(model="nope"), out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("words", [{"criterion": "snip"}, {"allocation": "snip"}])
def test_criteria_that_read_examples_are_refused(words, digits, tmp_path):
    """They would take the upper half of a batch for the second views of the lower one."""
    run = dataclasses.replace(RUN, weights=dp.WeightPruning(0.5, **words))
    with pytest.raises(dp.UsageError, match="compares two views; take magnitude"):
        pretrain(digits, run=run, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    plain = Run(model="mlp", steps=2, weights=dp.WeightPruning(0.5))
    encoder, _ = pretrain(digits, run=plain)
    assert float((encoder.fc1.weight == 0).float().mean()) > 0.2


def test_the_encoder_ends_where_the_projection_begins(digits):
    encoder, _ = pretrain(digits, SelfSup(hidden=32), run=Run(model="mlp", steps=1))
    last = [m for m in encoder.modules() if isinstance(m, nn.Linear)][-1]
    assert (last.in_features, last.out_features) == (100, 32)
    assert np.isfinite(dp.embed(digits, encoder)).all()
