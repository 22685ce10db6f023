"""Patterns: what is removed together.

A pattern is a function (Scope) -> list of Group, see units.py for both. It looks at the network and
the names of the parameters that may be ranked, and says which elements make a unit. Everything
else (scores, counts, when, holding the masks) is the same for all patterns.

- One group is one budget: an allocation gives each group a number of units to keep.
- A unit may have members in several parameters: an output channel has its weight rows, its bias,
  the entries of its BatchNorm, and the input slices of the layers that read it. `Member.units`
  says for each element which unit it belongs to; what is coupled has the same unit numbers.
  Members with ranks=False are masked along and do not count in the score; so a skipped parameter
  may be masked, but is not ranked.
- An element may be in several groups (a kernel's output channels and its input channels): it is
  kept where all its units are kept.
- `Group.size` is what one unit weighs in the density: for channels the weights of its rows.
- A pattern that must run the network (to trace it) takes `Scope.example`, and raises UsageError
  when that is None. Sizes that do not fit are refused by a UsageError that names the parameter.

A new pattern is one function and one line of `PATTERNS`. Patterns that take numbers are called by
them: 2:4 keeps 2 of 4 neighbouring inputs, 4x4 removes blocks of 4 rows and 4 columns.
"""

import re
from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import Tensor

from ..errors import UsageError, suggest
from .channels import channel, layer, residual
from .units import Group, Member, Scope

Pattern = Callable[[Scope], list[Group]]


def weight(scope: Scope) -> list[Group]:
    """Make a unit of each weight; the weights of an output row are a cell.

    Example:
        >>> [(g.name, g.count, g.cell) for g in weight(Scope(torch.nn.Linear(3, 2), ("weight",)))]
        [('weight', 6, 3)]
    """
    groups = []
    for name in scope.names:
        shape = tuple(scope.parameter(name).shape)
        units = torch.arange(prod(shape)).view(shape)
        groups.append(_group(name, shape, units, cell=prod(shape[1:])))
    return groups


def n_of_m(scope: Scope, n: int, m: int) -> list[Group]:
    """Keep n of every m neighbouring inputs of an output (Mishra et al. 2021 for 2:4).

    Along the input channels: of a kernel (out, in, kh, kw) at each place by itself.

    Raises:
        UsageError: the inputs of a layer cannot be divided by m.

    Example:
        >>> group, = n_of_m(Scope(torch.nn.Linear(8, 2), ("weight",)), 2, 4)
        >>> group.cell, group.of_cell
        (4, 2)
    """
    if not 0 < n < m:
        raise UsageError(f"pattern {n}:{m} keeps {n} of {m}; N must be at least 1 and below M")
    groups = []
    for name in scope.names:
        shape = tuple(scope.parameter(name).shape)
        if shape[1] % m:
            raise UsageError(
                f"pattern {n}:{m}: {name} has {shape[1]} inputs, which {m} does not divide; skip "
                f"it (skip={name!r}) or take another pattern"
            )
        places = torch.arange(prod(shape)).view(shape[0], *shape[2:], shape[1])
        groups.append(_group(name, shape, places.movedim(-1, 1), cell=m, of_cell=n))
    return groups


def block(scope: Scope, rows: int, columns: int) -> list[Group]:
    """Remove blocks of neighbouring weights from the matrix (out, in x kh x kw).

    Raises:
        UsageError: the blocks do not fill a layer.

    Example:
        >>> group, = block(Scope(torch.nn.Linear(8, 4), ("weight",)), 2, 4)
        >>> group.count, group.size
        (4, 8)
    """
    groups = []
    for name in scope.names:
        shape = tuple(scope.parameter(name).shape)
        high, wide = shape[0], prod(shape[1:])
        if not rows or not columns or high % rows or wide % columns:
            raise UsageError(
                f"pattern {rows}x{columns}: blocks do not fill {name}, which is {high} by {wide}; "
                f"skip it (skip={name!r}) or take another size"
            )
        down, along = torch.arange(high) // rows, torch.arange(wide) // columns
        units = (down[:, None] * (wide // columns) + along).view(shape)
        groups.append(_group(name, shape, units, size=rows * columns))
    return groups


def row(scope: Scope) -> list[Group]:
    """Remove all weights into an output unit: rows of a matrix, filters of a kernel.

    The weights alone; what is coupled with them stays. For whole units take `channel`.

    Example:
        >>> group, = row(Scope(torch.nn.Linear(3, 2), ("weight",)))
        >>> group.count, group.size
        (2, 3)
    """
    return [_slices(scope, name, 0) for name in scope.names]


def column(scope: Scope) -> list[Group]:
    """Remove all weights out of an input: columns of a matrix, input slices of a kernel.

    Example:
        >>> group, = column(Scope(torch.nn.Linear(3, 2), ("weight",)))
        >>> group.count, group.size
        (3, 2)
    """
    return [_slices(scope, name, 1) for name in scope.names]


PATTERNS: dict[str, Callable[..., list[Group]]] = {
    "weight": weight,
    "n:m": n_of_m,
    "block": block,
    "row": row,
    "column": column,
    "channel": channel,
    "residual": residual,
    "layer": layer,
}

TRACED = ("channel", "residual", "layer")  # these have to see the network run

_NUMBERS = {"n:m": r"(\d+):(\d+)", "block": r"(\d+)x(\d+)"}


def pattern_named(name: str) -> Pattern:
    """Return the pattern that a word names: one of `PATTERNS`, N:M such as 2:4, or blocks as 4x4.

    Raises:
        UsageError: no pattern is called that.

    Example:
        >>> pattern_named("2:4").func is n_of_m
        True
    """
    for called, form in _NUMBERS.items():
        if found := re.fullmatch(form, name):
            first, second = (int(number) for number in found.groups())
            return partial(PATTERNS[called], **_named(called, first, second))
    if name in PATTERNS and name not in _NUMBERS:
        return PATTERNS[name]
    known = ["2:4" if k == "n:m" else "4x4" if k == "block" else k for k in PATTERNS]
    raise UsageError(f"no pattern is called {name!r}; {suggest(name, known)}")


def _named(called: str, first: int, second: int) -> dict[str, int]:
    return {"n": first, "m": second} if called == "n:m" else {"rows": first, "columns": second}


def _group(
    name: str,
    shape: tuple[int, ...],
    units: Tensor,
    *,
    size: int = 1,
    cell: int = 0,
    of_cell: int = 0,
) -> Group:
    count = prod(shape) // size
    return Group(name, shape, count, size, (Member(name, units),), cell, of_cell)


def _slices(scope: Scope, name: str, dim: int) -> Group:
    shape = tuple(scope.parameter(name).shape)
    units = torch.arange(shape[dim]).view([-1 if d == dim else 1 for d in range(len(shape))])
    return _group(name, shape, units, size=prod(shape) // shape[dim])
