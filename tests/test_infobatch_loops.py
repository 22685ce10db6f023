"""InfoBatch where it is used: in prune(), in fit with every loader, stopped and gone on."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import datapruner as dp


def blobs(n=60):
    make = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = torch.randn(n, 5, generator=make) + 2 * torch.nn.functional.one_hot(y, 5)
    return TensorDataset(x, y)


def trained(loader, epochs, stop=None, state=None, accumulate=1):
    """Train somebody's own loop; return the indices of every batch, and the state where it ends."""
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    start = 0
    if state is not None:
        model.load_state_dict(state["model"])
        loader.load_state_dict(state["loader"])
        start = state["loader"]["epoch"]
    seen = []
    for _ in range(start, epochs):
        for step, (x, y) in enumerate(loader):
            losses = cross_entropy(model(x), y, reduction="none")
            (loader.observe(losses) / accumulate).backward()
            if (step + 1) % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            seen.append(loader.indices.tolist())
            if stop is not None and len(seen) == stop:
                return seen, {"model": model.state_dict(), "loader": loader.state_dict()}
    return seen, None


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_prune_ends_and_saves(drop_last, accumulate):
    loader = DataLoader(blobs(), batch_size=7, shuffle=True, drop_last=drop_last)
    loader = dp.prune(loader, dp.InfoBatch(epochs=8))
    seen, _ = trained(loader, epochs=8, accumulate=accumulate)
    rows = sum(len(batch) for batch in seen)
    assert rows < 8 * (56 if drop_last else 60)
    assert not drop_last or {len(batch) for batch in seen} == {7}


@pytest.mark.parametrize("stop", [4, 13, 31])
def test_prune_goes_on_in_the_middle_of_an_epoch(stop):
    def fresh():
        loader = DataLoader(blobs(), batch_size=7, shuffle=True)
        return dp.prune(loader, dp.InfoBatch(epochs=8))

    whole, _ = trained(fresh(), epochs=8)
    first, state = trained(fresh(), epochs=8, stop=stop)
    rest, _ = trained(fresh(), epochs=8, state=state)
    assert first + rest == whole


def test_weights_reach_the_loss():
    loader = dp.prune(DataLoader(torch.arange(4), batch_size=4), dp.InfoBatch(epochs=8))
    for _ in loader:
        loader.observe(torch.tensor([0.0, 0.0, 0.0, 4.0]))
    for _ in loader:
        losses = torch.ones(len(loader.indices))
        share = 2.0 * (len(losses) - 1) + 1
        assert float(loader.observe(losses)) == pytest.approx(share / len(losses))


def test_fit_saves_the_same_with_any_loader():
    data = dp.open_data("digits")

    def examples(loader):
        model = dp.make_model("mlp", 10, data.shape)
        history = dp.fit(model, loader, dp.InfoBatch(5), dp.Run(epochs=5, lr=0.05))
        return [epoch.examples for epoch in history.epochs]

    in_memory = examples(dp.TensorLoader(data, augment="none"))
    each = torch.tensor(in_memory).diff(prepend=torch.tensor([0])).tolist()
    assert each[0] == each[4] == data.n
    assert max(each[1:4]) < 0.85 * data.n
    assert examples(dp.TorchLoader(data, augment="none", workers=1)) == in_memory


def test_fit_goes_on_as_if_never_stopped(tmp_path):
    data = dp.open_data("digits")

    def run(epochs_seen):
        model = dp.make_model("mlp", 10, data.shape)
        stop = _Stop(epochs_seen)
        try:
            dp.fit(
                model,
                dp.TensorLoader(data, augment="none"),
                dp.InfoBatch(5),
                dp.Run(epochs=5, lr=0.05),
                observers=[stop],
                checkpoint=tmp_path / f"{epochs_seen != 0}.safetensors",
            )
        except InterruptedError:
            return None
        return model.state_dict()

    whole = run(0)
    assert run(3) is None
    again = run(9)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


class _Stop:
    """An observer that breaks the training off in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def observe(self, epoch, batch, logits, losses):
        if epoch == self.epoch and self.epoch:
            raise InterruptedError

    def end_epoch(self, epoch): ...

    def resume(self, epoch): ...
