import math

import pytest
import torch

import datapruner as dp
from datapruner.batching import even_batches, in_batches, rows_in
from datapruner.errors import PrunerError


@pytest.mark.parametrize("size", [1, 2, 7, 128])
@pytest.mark.parametrize("m", [0, 1, 2, 6, 7, 8, 129, 5000])
def test_a_cut_is_even_whole_in_order_and_in_as_few_batches_as_may_be(m, size):
    order = torch.randperm(m, generator=torch.Generator().manual_seed(m))
    parts = even_batches(order, size)
    sizes = [len(part) for part in parts]
    assert len(parts) == math.ceil(m / size) == len(in_batches(order, size))
    assert torch.cat([order[:0], *parts]).equal(order)
    if m:
        assert 0 < min(sizes) <= max(sizes) <= min(size, min(sizes) + 1)
    for steps in range(len(parts) + 3):
        assert rows_in(steps, m, size) == sum(sizes[:steps])


def test_no_step_is_taken_on_a_handful():
    """5,000 rows are 39 batches of 128 and a rest of 8, whose gradient would count like theirs."""
    assert min(map(len, even_batches(torch.arange(5000), 128))) == 125
    assert len(in_batches(torch.arange(5000), 128)[-1]) == 8


class DropsTheLast:
    """A loader that leaves out a batch that is not full."""

    def __init__(self, data: dp.Data, batch_size: int) -> None:
        self.inner, self.batch_size = dp.TensorLoader(data, batch_size), batch_size
        self.labels, self.readable = data.labels, data.readable

    def __call__(self, order, *, epoch=0, train=True):
        order = order[: len(order) // self.batch_size * self.batch_size]
        return self.inner(order, epoch=epoch, train=train)


def test_an_epoch_without_a_batch_is_refused(digits):
    model = dp.make_model("mlp", 10, digits.shape)
    with pytest.raises(PrunerError, match="no batch of the 14 examples drawn; .* drop_last"):
        dp.fit(model, DropsTheLast(digits, 32), dp.RS2(0.01), dp.Run(steps=2, batch_size=32))


def test_examples_are_those_that_the_loader_gave(digits):
    model = dp.make_model("mlp", 10, digits.shape)
    run = dp.Run(epochs=1, batch_size=100, lr=0.01)
    history = dp.fit(model, DropsTheLast(digits, 100), dp.RS2(0.1), run)
    assert (history.steps, history.examples) == (1, 100)  # of 2 and 144
