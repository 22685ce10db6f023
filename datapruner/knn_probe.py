"""How good an encoder is while it trains: nearest neighbours on a part of the training set.

The only part of self-supervised training that reads labels, and it gives nothing back.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .augment import Normalise
from .evaluation import predict
from .files import read_json, write_json
from .heads import features
from .knn import knn_accuracy
from .loaders import Batch, TensorLoader
from .seeds import generator
from .selfsup import blind

if TYPE_CHECKING:
    from .data import Data

Say = Callable[[str], None]


class KnnProbe:
    """An observer that says the kNN accuracy of an encoder's features after each epoch.

    A seeded split of the training set: `bank` rows vote, `asked` others are asked; of a set that
    has fewer, four fifths vote. Test data are not touched.

    Args:
        encoder: whose penultimate features are compared.
        data: whose labels are read, here alone.
        say: given one line an epoch, and at the start one with what raw pixels and the untrained
            encoder reach.
        path: JSON file of the figures, which a run that goes on reads again.
        bank: rows that vote.
        asked: rows that are asked.
        seed: of the split.

    Example:
        >>> import datapruner as dp
        >>> data, encoder = dp.open_data("digits"), dp.make_model("mlp", 32, (1, 8, 8))
        >>> probe = KnnProbe(encoder, data, lambda line: None, bank=500, asked=100)
        >>> probe.resume(0)
        >>> sorted(probe.found)
        ['epochs', 'raw pixels', 'untrained']
    """

    def __init__(
        self,
        encoder: nn.Module,
        data: "Data",
        say: Say,
        path: Path | None = None,
        *,
        bank: int = 5_000,
        asked: int = 1_000,
        seed: int = 0,
    ) -> None:
        self.encoder, self.say, self.path = encoder, say, path
        rows = data.readable.nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator(seed, "knn"))]
        asked = min(asked, len(rows) // 5)
        self.asked, self.bank = rows[:asked], rows[asked : asked + bank]
        self.labels = data.labels
        normalise = Normalise.of(data.x, rows) if data.x is not None else None
        self.loader = TensorLoader(blind(data), 512, normalise=normalise)
        self.found: dict[str, float | list[float]] = {}

    def resume(self, epoch: int) -> None:
        """Say where it starts from, or read what an earlier part of the run found."""
        if epoch and self.path is not None and self.path.exists():
            self.found = read_json(self.path)
            self.found["epochs"] = self._epochs()[:epoch]
            return
        raw, untrained = self._accuracy(self._pixels), self._accuracy(self._features)
        self.found = {"raw pixels": raw, "untrained": untrained, "epochs": []}
        self.say(f"kNN accuracy: raw pixels {100 * raw:.1f} %, untrained {100 * untrained:.1f} %")

    def observe(self, epoch: int, batch: Batch, logits: Tensor, losses: Tensor) -> None:
        """Take no notice of batches."""

    def end_epoch(self, epoch: int) -> None:
        """Measure, say and write down."""
        accuracy = self._accuracy(self._features)
        self.found["epochs"] = [*self._epochs()[:epoch], accuracy]
        self.say(f"epoch {epoch + 1}: kNN accuracy {100 * accuracy:.1f} %")
        if self.path is not None:
            write_json(self.path, self.found)

    def _epochs(self) -> list[float]:
        found = self.found.get("epochs", [])
        return found if isinstance(found, list) else []

    def _accuracy(self, rows: Callable[[Tensor], Tensor]) -> float:
        bank, asked = rows(self.bank), rows(self.asked)
        return knn_accuracy(bank, self.labels[self.bank], asked, self.labels[self.asked])

    def _pixels(self, order: Tensor) -> Tensor:
        return torch.cat([batch.x.flatten(1) for batch in self.loader(order, train=False)])

    def _features(self, order: Tensor) -> Tensor:
        parts = []
        device = str(next(self.encoder.parameters()).device)
        with features(self.encoder) as seen:
            for _ in predict(self.encoder, self.loader, order, device=device, precision="float32"):
                assert seen.last is not None  # the encoder has run
                parts.append(seen.last.flatten(1).cpu())
        return torch.cat(parts)


def knn_probe(data: "Data", say: Say, path: Path | None = None) -> Callable[[nn.Module], KnnProbe]:
    """Return what `pretrain` takes among its observers, to have kNN accuracies said.

    Example:
        >>> import datapruner as dp
        >>> data, lines = dp.open_data("digits"), []
        >>> run = dp.Run(model="mlp", steps=2)
        >>> _ = dp.pretrain(data, run=run, observers=[knn_probe(data, lines.append)])
        >>> len(lines)
        2
    """
    return partial(KnnProbe, data=data, say=say, path=path)
