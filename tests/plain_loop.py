"""A set of points, samplers over them and somebody's own loop, for the tests of other trainers."""

import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import datapruner as dp
from datapruner.vision import torchvision

N, EPOCHS = 64, 6
SAMPLERS = {
    "rs2": lambda: dp.RS2(0.3, seed=1),
    "growing": lambda: dp.RS2(lambda p: 0.2 + 0.6 * p, seed=1, epochs=EPOCHS),
    "infobatch": lambda: dp.InfoBatch(EPOCHS, seed=1),
    "by score": lambda: dp.ByScore(0.4, "loss", seed=1),
    "indices": lambda: list(range(0, N, 3)),
}


class Rows(torch.utils.data.Dataset):
    """Three classes of points; a row is (x, y)."""

    def __init__(self):
        make = torch.Generator().manual_seed(0)
        self.y = torch.arange(N) % 3
        self.x = torch.randn(N, 5, generator=make) + 2 * torch.nn.functional.one_hot(self.y, 5)

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Named(Rows):
    """The same with names for the columns, as the Hugging Face Trainer takes them."""

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}


def model():
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3)


def plain(sampler, epochs=EPOCHS):
    """Train somebody's own loop; return the batches' indices and the weights."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    loader = dp.prune(DataLoader(Rows(), batch_size=7, shuffle=True), sampler)
    seen = []
    for _ in range(epochs):
        for x, y in loader:
            loss = loader.observe(cross_entropy(net(x), y, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loader.indices.tolist())
    return seen, net.weight.detach()


def installed(name):
    """Import a library, or skip; torchvision first, which some of them bring in."""
    torchvision("transforms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
