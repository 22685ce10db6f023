"""FFCVLoader's way of running FFCV's own operations, in two pipelines: training and scoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from .beton import Rows

STAGES = ("train", "eval")


class Operations:
    """Two FFCV loaders of one file, each compiled when it is first used.

    Args:
        rows: the file.
        batch_size: rows in a batch.
        pipelines: "train" and "eval", each a list of FFCV operations for x.
        workers: threads.
        os_cache: as FFCV's.

    Raises:
        UsageError: a pipeline is missing, or has another name.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        pipelines: Mapping[str, Sequence[Any]],
        workers: int,
        os_cache: bool,
    ) -> None:
        if set(pipelines) != set(STAGES):
            raise UsageError(
                "pipelines must be {'train': [...], 'eval': [...]}, each a list of FFCV operations "
                f"for x, the decoder first; got {sorted(pipelines)}"
            )
        self.rows, self.batch_size, self.workers = rows, batch_size, workers
        self.pipelines, self.os_cache = pipelines, os_cache
        self._loaders: dict[str, Any] = {}

    def __call__(self, order: Tensor, train: bool) -> Iterator[Tensor]:
        """Give x of each batch of `order`, in memory of its own."""
        from .epochs import run

        loader = self._loader("train" if train else "eval")
        for (x,) in run(loader, order):
            yield x.clone() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))

    def _loader(self, stage: str) -> Any:
        if stage not in self._loaders:
            from .epochs import quiet_loader

            fields = {name: None for name in self.rows.fields}
            self._loaders[stage] = quiet_loader(
                self.rows.beton,
                batch_size=self.batch_size,
                num_workers=self.workers,
                os_cache=self.os_cache,
                drop_last=False,
                pipelines={**fields, self.rows.field: list(self.pipelines[stage])},
            )
        return self._loaders[stage]
