"""Allocations: how many units of each layer are kept.

An allocation names a density for each group, or lets a ranking over all of them decide. What it
names is scaled so that the whole comes to the density asked for, exactly: a layer that would need
more than it has stays whole, one that would get fewer than its floor gets that, and the others are
solved for again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

from torch import Tensor

from ..errors import UsageError, suggest
from .units import Group


@dataclass(frozen=True, eq=False)
class Budget:
    """What is to be shared out.

    Attributes:
        groups: in the network's order.
        density: share of the weights of all groups that is kept.
        floor: least units of each cell (output row) that stay; 0 for none.
        ranked: the scores of each group's units, for allocations that rank.
        first: place of the first convolution among the groups; None where there is none.
        classifier: place of the classifier; None where it is skipped.
        alive: (count,) bool of each group, the units that are not gone already; None is all.

    Example:
        >>> Budget([Group("w", (4, 3), 12, 1, (), cell=3)], 0.5).low
        [4]
    """

    groups: Sequence[Group]
    density: float
    floor: int = 1
    ranked: Sequence[Tensor] | None = None
    first: int | None = None
    classifier: int | None = None
    alive: Sequence[Tensor] | None = None

    @property
    def low(self) -> list[int]:
        """The fewest units that each group keeps."""
        if self.alive is not None:
            pairs = zip(self.groups, self.alive, strict=True)
            cells = [a.view(-1, g.cell or g.count).sum(1) for g, a in pairs]
            return [int(cell.clamp_max(self.floor).sum()) for cell in cells]
        rows = [g.count // g.cell if g.cell else 1 for g in self.groups]
        return [min(g.count, self.floor * r) for g, r in zip(self.groups, rows, strict=True)]

    @property
    def high(self) -> list[int]:
        """The most units that each group can keep."""
        if self.alive is not None:
            return [int(alive.sum()) for alive in self.alive]
        return [g.count for g in self.groups]

    @property
    def total(self) -> int:
        """Weights that are kept in all, to the nearest whole one."""
        return round(self.density * sum(g.weights for g in self.groups))


@dataclass(frozen=True)
class Shares:
    """Relative densities: what each layer gets is in proportion, up to 1.

    Attributes:
        raw: one number above 0 a group.
        fixed: densities by place that are not scaled.

    Example:
        >>> Shares([1.0, 1.0]).fixed
        {}
    """

    raw: Sequence[float]
    fixed: dict[int, float] = field(default_factory=dict)


def uniform(budget: Budget) -> Shares:
    """Give every layer the same density.

    Example:
        >>> uniform(Budget([Group("w", (4, 3), 12, 1, ())], 0.5)).raw
        [1.0]
    """
    return Shares([1.0] * len(budget.groups))


def uniform_plus(budget: Budget) -> Shares:
    """As uniform, but the first convolution whole and a fifth of the classifier at least.

    Source: Gale, Elsen and Hooker 2019.

    Example:
        >>> uniform_plus(Budget([Group("w", (4, 3), 12, 1, ())], 0.1, classifier=0)).fixed
        {0: 0.2}
    """
    fixed = {} if budget.first is None else {budget.first: 1.0}
    if budget.classifier is not None and budget.density < 0.2:
        fixed[budget.classifier] = 0.2
    return Shares([1.0] * len(budget.groups), fixed)


def erdos_renyi(budget: Budget) -> Shares:
    """Give a layer (in + out) / (in · out), kernels by their channels alone (ER).

    Source: Mocanu et al. 2018.

    Example:
        >>> erdos_renyi(Budget([Group("w", (4, 2, 3, 3), 72, 1, ())], 0.1)).raw
        [0.75]
    """
    return Shares([sum(g.shape[:2]) / prod(g.shape[:2]) for g in budget.groups])


def erdos_renyi_kernel(budget: Budget) -> Shares:
    """Give a layer Σ dimensions / Π dimensions, those of the kernel included (ERK).

    Source: Evci, Gale, Menick, Castro and Elsen 2020.

    Example:
        >>> erdos_renyi_kernel(Budget([Group("w", (4, 2, 3, 3), 72, 1, ())], 0.1)).raw
        [0.16666666666666666]
    """
    return Shares([sum(g.shape) / prod(g.shape) for g in budget.groups])


def erk_plus(budget: Budget) -> Shares:
    """As ERK, the classifier whole.

    Source: Liu et al. 2022.

    Example:
        >>> erk_plus(Budget([Group("w", (4, 3), 12, 1, ())], 0.1, classifier=0)).fixed
        {0: 1.0}
    """
    fixed = {} if budget.classifier is None else {budget.classifier: 1.0}
    return Shares(erdos_renyi_kernel(budget).raw, fixed)


@dataclass(frozen=True)
class Allocation:
    """How density is shared out.

    Attributes:
        shares: gives relative densities; None ranks the units of all layers together.
        criterion: whose scores are ranked; None takes those of the run's own criterion.

    Example:
        >>> ALLOCATIONS["lamp"].criterion
        'lamp'
    """

    shares: Callable[[Budget], Shares] | None = None
    criterion: str | None = None


ALLOCATIONS: dict[str, Allocation] = {
    # one ranking over all layers
    "global": Allocation(),
    # the densities that such a ranking gives, the weights chosen by another criterion
    "lamp": Allocation(criterion="lamp"),
    "snip": Allocation(criterion="snip"),
    "grasp": Allocation(criterion="grasp"),
    "synflow": Allocation(criterion="synflow"),
    # by the shapes of the layers
    "uniform": Allocation(uniform),
    "uniform+": Allocation(uniform_plus),
    "er": Allocation(erdos_renyi),
    "erk": Allocation(erdos_renyi_kernel),
    "erk+": Allocation(erk_plus),
}


def allocation_named(word: str) -> tuple[Allocation | None, dict[str, float]]:
    """Read an allocation: a name, densities of layers by pattern, or both, with commas between.

    With a name the other layers are solved for so that the whole has the density asked for;
    without one they are pruned to that density each.

    Raises:
        UsageError: no allocation is called that, or what follows a pattern is no density.

    Example:
        >>> allocation_named("erk,fc3=1")[1], allocation_named("*.h2h=0.2")
        ({'fc3': 1.0}, (None, {'*.h2h': 0.2}))
    """
    named: Allocation | None = None
    fixed: dict[str, float] = {}
    for part in (part.strip() for part in word.split(",")):
        pattern, equals, value = part.partition("=")
        if not equals:
            if part not in ALLOCATIONS or named is not None:
                hint = suggest(part, [*ALLOCATIONS, "PATTERN=DENSITY"])
                raise UsageError(f"no allocation is called {word!r}; {hint}")
            named = ALLOCATIONS[part]
            continue
        try:
            density = float(value)
        except ValueError:
            density = -1.0
        if not 0 < density <= 1:
            raise UsageError(
                f"allocation {part!r}: a density is above 0 and at most 1, not {value!r}"
            )
        fixed[pattern] = density
    return named, fixed
