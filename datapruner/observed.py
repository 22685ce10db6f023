"""What a sampler is told in an epoch, kept apart until the epoch ends, from all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .ranks import processes


class Observed:
    """Rows of numbers with the index of the example each belongs to, in the order they came in.

    They stay on the device they came from until they are asked for, so that listening does not
    make a GPU wait.

    Args:
        columns: how many numbers there are for each example.

    Example:
        >>> observed = Observed(columns=1)
        >>> observed.add(torch.tensor([7, 2]), torch.tensor([[0.5], [1.5]]))
        >>> observed.gather()
        (tensor([7, 2]), tensor([[0.5000],
                [1.5000]]))
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._parts: list[tuple[Tensor, Tensor]] = []

    def add(self, index: Tensor, rows: Tensor) -> None:
        """Keep a copy of rows (b, columns), in float32 whatever they come in."""
        kept = rows.detach().to(torch.float32, copy=True)
        self._parts.append((index.detach().to("cpu", torch.int64), kept))

    def here(self) -> tuple[Tensor, Tensor]:
        """Return what this process was told: indices (m,) int64 and rows (m, columns) float32."""
        if not self._parts:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, self.columns)
        index = torch.cat([part for part, _ in self._parts])
        rows = torch.cat([part for _, part in self._parts]).cpu()
        self._parts = [(index, rows)]
        return index, rows

    def gather(self) -> tuple[Tensor, Tensor]:
        """Return what all processes were told, the same on each of them, in the order of ranks.

        Every process of the default group has to call it; without a group it is `here`.
        """
        index, rows = self.here()
        if processes() == 1:
            return index, rows
        return _gathered(index), _gathered(rows)

    def clear(self) -> None:
        """Forget everything: a new epoch begins."""
        self._parts = []

    def state_dict(self) -> dict[str, Any]:
        """Return what this process was told since the last `clear`."""
        index, rows = self.here()
        return {"observed_index": index, "observed": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.clear()
        if len(state["observed_index"]):
            self.add(state["observed_index"], state["observed"])


def _gathered(rows: Tensor) -> Tensor:
    """Join the rows of all processes, which may differ in number, in the order of ranks."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    here = torch.tensor([len(rows)], device=device)
    sizes = [torch.zeros_like(here) for _ in range(processes())]
    dist.all_gather(sizes, here)
    counts = [int(size) for size in sizes]
    padded = rows.new_zeros((max(counts), *rows.shape[1:]), device=device)
    padded[: len(rows)] = rows.to(device)
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).cpu()
