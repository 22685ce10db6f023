"""Samplers that score the run as it goes: a new choice each epoch, by what it made of the data."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import PrunerError, UsageError, suggest
from .loaders import Batch
from .observed import Observed
from .samplers import Draw
from .seeds import generator
from .streams import Stream
from .traces import TRACES, measure

How = Literal["softmax", "top"]
SOURCES = ("loss", "margin", "error_norm", "entropy")


class ByScore:
    """Choose each epoch's examples by a score of the traces of the run itself.

    With how="softmax" an epoch is `fraction` of the examples drawn without repeats, each in turn
    with probability proportional to exp(score / temperature) among those that are left; with "top"
    it is the highest scores. These are RS and RC of Okanovic et al. 2023 with one difference: the
    scores stand on what training saw of each example at its last visits, not on an extra pass over
    everything, so they cost nothing and those of examples that are not drawn grow old.

    Until every example has had `visits` visits the epochs walk through random permutations, as RS2
    does; so every epoch has the same size, and the score takes over after visits / fraction of
    them. Nothing is weighed: what is chosen by score is trained on as if it were all there is.

    Args:
        fraction: share of the (readable) examples in an epoch, above 0 and at most 1.
        scorer: name of a scorer, or a function, whose positional parameters are among loss, margin,
            error_norm and entropy; high is chosen. In `prune` there are no logits, only the loss.
        how: "softmax" or "top".
        temperature: of the softmax; high is nearly uniform, low nearly "top".
        every: how many epochs the scores are kept before they are made again.
        visits: how many of the last visits of each example the scorer is given, as rows.
        seed: of the draws.

    Raises:
        UsageError: a value outside its range, or a scorer that needs something else.
        PrunerError: at the end of an epoch, a score that is not finite.

    Example:
        >>> from datapruner import Batch
        >>> sampler = ByScore(fraction=0.5, scorer="loss", how="top").bind(4)
        >>> for epoch in range(2):  # everyone is seen once
        ...     order, _ = sampler.draw(epoch)
        ...     batch = Batch(order, torch.zeros(2), torch.zeros(2))
        ...     sampler.observe(epoch, batch, None, order.float())
        ...     sampler.end_epoch(epoch)
        >>> sorted(sampler.draw(2)[0].tolist())
        [2, 3]
    """

    # there when bound
    _walk: Stream
    _observed: Observed
    _rows: Tensor  # (sources, visits, n), the newest visit last, NaN where there was none
    _scores: Tensor | None  # (readable,) or None before everyone was seen

    def __init__(
        self,
        fraction: float,
        scorer: str | Callable[..., Tensor] = "el2n",
        how: How = "softmax",
        temperature: float = 1.0,
        every: int = 1,
        visits: int = 1,
        seed: int = 0,
    ) -> None:
        if not 0 < fraction <= 1:
            raise UsageError(f"fraction must be above 0 and at most 1, not {fraction}")
        if how not in ("softmax", "top"):
            raise UsageError(f"how={how!r}; {suggest(how, ('softmax', 'top'))}")
        if not temperature > 0:
            raise UsageError(f"temperature must be above 0, not {temperature}")
        for name, value in (("every", every), ("visits", visits)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        self.fraction, self.scorer, self.how = fraction, scorer, how
        self.temperature, self.every, self.visits, self.seed = temperature, every, visits, seed
        self._score, self._needs = _scorer(scorer, visits)
        self._places = tuple(TRACES.index(name) for name in self._needs)
        self._everyone: Tensor | None = None
        self._n = self._k = 0

    def __repr__(self) -> str:
        name = self.scorer
        if not isinstance(name, str):
            name = getattr(name, "__name__", type(name).__name__)
        return f"ByScore({self.fraction:g}, {name!r}, how={self.how!r})"

    def bind(
        self, n: int, labels: Tensor | None = None, readable: Tensor | None = None
    ) -> "ByScore":
        """Return this sampler over `n` examples, with nothing observed yet."""
        everyone = torch.arange(n) if readable is None else readable.nonzero().flatten()
        if readable is not None and readable.shape != (n,):
            raise UsageError(f"readable has shape {tuple(readable.shape)}, expected ({n},)")
        if len(everyone) == 0:
            raise UsageError("no readable example to draw from")
        bound = ByScore(
            self.fraction,
            self.scorer,
            self.how,
            self.temperature,
            self.every,
            self.visits,
            self.seed,
        )
        bound._everyone, bound._n = everyone, n
        bound._k = max(1, round(self.fraction * len(everyone)))
        bound._walk = Stream(len(everyone), bound._k, self.seed, "by-score/walk")
        bound._rows = torch.full((len(self._needs), self.visits, n), float("nan"))
        bound._observed = Observed(columns=len(self._needs))
        bound._scores = None
        return bound

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's examples in random order; all weigh the same."""
        return self.choose(epoch, self.size(epoch)), None

    def choose(self, epoch: int, k: int) -> Tensor:
        """Return the epoch's best k examples (k,) in random order, k at most the epoch's size."""
        everyone = self._bound
        if self._scores is None:
            return everyone[self._walk.group(epoch)[:k]]
        if self.how == "top":
            best = _highest(self._scores, k, generator(self.seed, "by-score/ties"))
        else:
            one = generator(self.seed, "by-score", epoch)
            noise = torch.empty_like(self._scores).exponential_(generator=one)
            # Highest of score + Gumbel noise: the same as drawing one after the other.
            best = (self._scores / self.temperature - noise.log()).topk(k).indices
        mixed = torch.randperm(k, generator=generator(self.seed, "by-score/order", epoch))
        return everyone[best[mixed]]

    @property
    def ready(self) -> bool:
        """Whether every example has had its visits, so that scores choose."""
        return self._scores is not None

    def all_but(self, chosen: Tensor) -> Tensor:
        """Return the readable examples that are not among `chosen`, ascending."""
        left = torch.zeros(self._n, dtype=torch.bool)
        left[self._bound] = True
        left[chosen] = False
        return left.nonzero().flatten()

    def observe(self, epoch: int, batch: Batch, logits: Tensor | None, losses: Tensor) -> None:
        """Take note of a batch before its step."""
        if logits is not None:
            rows, _ = measure(logits.detach(), batch.y.to(logits.device))
            self._observed.add(batch.index, rows[list(self._places)].T)
        elif self._needs == ("loss",):
            self._observed.add(batch.index, losses[:, None])
        else:
            raise UsageError(
                f"scorer {self.scorer!r} needs {', '.join(self._needs)}, and a loop over prune() "
                "tells the losses only; take scorer='loss', or train with fit()"
            )

    def end_epoch(self, epoch: int) -> None:
        """Make the scores anew where they are due, from what all processes observed."""
        index, rows = self._observed.gather()
        finite = rows.isfinite().all(1)
        index, rows = index[finite], rows[finite]
        visited = index.unique()
        self._rows[:, :-1, visited] = self._rows[:, 1:, visited]
        # numpy promises that of a repeated index the last one counts
        self._rows.numpy()[:, -1, index.numpy()] = rows.numpy().T
        self._observed.clear()
        if self._scores is None or (epoch + 1) % self.every == 0:
            known = self._rows[:, :, self._bound]
            if not bool(known[0, 0].isnan().any()):
                self._scores = self._usable(self._score(*known))

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws: always the same."""
        _ = self._bound
        return self._k

    def state_dict(self) -> dict[str, Any]:
        """Return the last visits of each example, the scores, and what was observed since."""
        _ = self._bound
        scores = torch.empty(0) if self._scores is None else self._scores
        return {"rows": self._rows.clone(), "scores": scores, **self._observed.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        _ = self._bound
        if state["rows"].shape != self._rows.shape:
            raise UsageError(
                f"the saved state is of another scorer or {state['rows'].shape[-1]} examples, "
                f"the data have {self._n}; go on with what it was saved with"
            )
        self._rows = state["rows"].to("cpu", torch.float32, copy=True)
        self._scores = state["scores"].clone() if len(state["scores"]) else None
        self._observed.load_state_dict(state)

    def _usable(self, scores: Tensor) -> Tensor:
        """Return scores as float32, or say which is none: NaN would be taken for the highest."""
        bad = (~scores.isfinite()).nonzero().flatten()
        if len(bad):
            raise PrunerError(
                f"scorer {self.scorer!r} gave {scores[bad[0]]:g} to example "
                f"{int(self._bound[bad[0]])} ({len(bad):,} in all are not finite); have it give "
                "finite numbers"
            )
        return scores.to(torch.float32)

    @property
    def _bound(self) -> Tensor:
        if self._everyone is None:
            raise UsageError("this sampler is not bound to data; hand it to prune() or fit()")
        return self._everyone


def _scorer(
    scorer: str | Callable[..., Tensor], visits: int
) -> tuple[Callable[..., Tensor], tuple[str, ...]]:
    """Return the function and the sources it needs; one that cannot be fed is a UsageError."""
    from scorers import SCORERS

    if isinstance(scorer, str):
        if scorer not in SCORERS:
            raise UsageError(f"no scorer {scorer!r}; {suggest(scorer, SCORERS)}")
        score = SCORERS[scorer]
    else:
        score = scorer
    parameters = inspect.signature(score).parameters.values()
    needs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    if not needs or set(needs) - set(SOURCES):
        raise UsageError(
            f"scorer {scorer!r} needs {', '.join(needs) or 'nothing'}; choosing while training has "
            f"{', '.join(SOURCES)} of each example's last visits"
        )
    try:
        tried = score(*(torch.zeros(visits, 2) for _ in needs))
    except ValueError as error:
        raise UsageError(f"scorer {scorer!r} with visits={visits}: {error}") from None
    if not isinstance(tried, Tensor) or tried.shape != (2,):
        given = tuple(tried.shape) if isinstance(tried, Tensor) else type(tried).__name__
        raise UsageError(
            f"scorer {scorer!r} gives {given} for ({visits}, 2) rows; it has to give a tensor of "
            "one number for each of the 2 examples"
        )
    return score, needs


def _highest(scores: Tensor, k: int, one: torch.Generator) -> Tensor:
    """Return the places of the k highest, chance deciding among equals."""
    mixed = torch.randperm(len(scores), generator=one)
    return mixed[scores[mixed].sort(descending=True, stable=True).indices[:k]]
