"""Reading a trace row by row: each example counts the epochs that visited it, and no others.

A trace is (epochs, n), NaN where an epoch did not visit the example (a pruned epoch, another rank).
It may be a memory map of many gigabytes, so nothing here holds more than a few rows at a time.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def chosen_rows(trace: Tensor, epoch: int | None, window: int | None) -> Tensor:
    """Return a view of the rows that `epoch` and `window` name; neither means all of them.

    `epoch` alone is that one row, `window` alone the first so many rows, both together `window`
    rows from `epoch` on. A negative `epoch` counts from the end. Rows are those of the trace at
    hand: in a clean pass that was taken at epochs 3 and 20, row 1 is epoch 20.

    Raises:
        ValueError: a row that the trace does not have.

    Example:
        >>> chosen_rows(torch.arange(8).reshape(4, 2), epoch=-2, window=2).tolist()
        [[4, 5], [6, 7]]
    """
    rows = len(trace)
    if epoch is None and window is None:
        return trace
    if epoch is not None and not -rows <= epoch < rows:
        raise ValueError(f"epoch={epoch} is not one of the {rows} rows of the trace")
    start = 0 if epoch is None else epoch % rows
    stop = start + (1 if window is None else window)
    if not start < stop <= rows:
        raise ValueError(
            f"window={window} from row {start} does not fit the {rows} rows of the trace; "
            f"choose a window between 1 and {rows - start}"
        )
    return trace[start:stop]


def visits(*traces: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Walk the rows: for each, who was visited (n,) bool, and every trace's values (n,) float64.

    Values of examples that were not visited read 0. Memory: a few rows.

    Raises:
        ValueError: a trace that is not (epochs, n), or traces of different shapes.

    Example:
        >>> row = torch.tensor([[1.0, float("nan")]])
        >>> [(seen.tolist(), values[0].tolist()) for seen, values in visits(row)]
        [([True, False], [1.0, 0.0])]
    """
    shapes = [tuple(trace.shape) for trace in traces]
    if len(shapes[0]) != 2 or len(set(shapes)) != 1:
        raise ValueError(f"traces must share one shape (epochs, n), not {shapes}")
    for rows in zip(*traces, strict=True):
        values = [torch.as_tensor(row).to(torch.float64) for row in rows]
        seen = ~torch.stack([value.isnan() for value in values]).any(0)
        yield seen, [value.where(seen, 0.0) for value in values]


def mean_of_visits(*traces: Tensor, value: Callable[..., Tensor] | None = None) -> Tensor:
    """Average `value(*rows)`, or the one trace itself, over each example's own visits.

    Memory: two (n,) vectors besides the rows in hand. Returns (n,) float32.

    Raises:
        ValueError: an example that was never visited, or whose mean is not finite.

    Example:
        >>> nan = float("nan")
        >>> mean_of_visits(torch.tensor([[1.0, 4.0], [3.0, nan]])).tolist()
        [2.0, 4.0]
    """
    n = traces[0].shape[-1]
    total, count = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.int32)
    for seen, rows in visits(*traces):
        total += (value(*rows) if value else rows[0]).where(seen, 0.0)
        count += seen
    refuse_unvisited(count)
    return finished(total / count)


def refuse_unvisited(count: Tensor, least: int = 1) -> None:
    """Refuse, by name, examples with fewer than `least` visits.

    Example:
        >>> refuse_unvisited(torch.tensor([2, 0, 0]))
        Traceback (most recent call last):
        ...
        ValueError: example 1 and 1 other were never visited: score only visited examples, or record an epoch over all of them
    """  # noqa: E501
    if not (short := (count < least)).any():
        return
    what = "never visited" if least == 1 else f"visited fewer than {least} times"
    raise ValueError(
        f"{named(short)} {what}: score only visited examples, or record an epoch over all of them"
    )


def finished(score: Tensor) -> Tensor:
    """Return a score as float32, refusing by name what is not finite.

    Example:
        >>> finished(torch.tensor([0.5, float("inf")]))
        Traceback (most recent call last):
        ...
        ValueError: example 1 was given a score that is not finite: the source holds infinite or NaN values
    """  # noqa: E501
    score = score.to(torch.float32)
    if (bad := ~score.isfinite()).any():
        raise ValueError(
            f"{named(bad)} given a score that is not finite: "
            "the source holds infinite or NaN values"
        )
    return score


def named(chosen: Tensor) -> str:
    """Say which examples: the first by index, the rest by count."""
    first, others = int(chosen.nonzero()[0]), int(chosen.sum()) - 1
    if not others:
        return f"example {first} was"
    return f"example {first} and {others} other{'s' if others > 1 else ''} were"
