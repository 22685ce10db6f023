"""Short runs under weight masks, and one that is killed on the way."""

from torch import nn

import datapruner as dp

RUN = dp.Run(model="mlp", epochs=4, lr=0.05, batch_size=256, augment="none")


def fitted(data, weights, *, run=RUN, model=None, **options):
    """Train a network of the run's on all of the data under these masks."""
    model = model or dp.make_model(run.model, data.num_classes, data.shape)
    loader = dp.TensorLoader(data, run.batch_size, augment="none")
    return model, dp.fit(model, loader, None, run, masks=weights, **options)


def zeros(model: nn.Module) -> int:
    return sum(int((p == 0).sum()) for p in model.parameters() if p.ndim > 1)


class Killed(Exception):
    pass


class Kill:
    """Stop a run at the first batch of an epoch."""

    def __init__(self, epoch: int = 2) -> None:
        self.epoch = epoch

    def observe(self, epoch, batch, logits, losses):
        if epoch == self.epoch:
            raise Killed

    def end_epoch(self, epoch):
        pass

    def resume(self, epoch):
        pass
