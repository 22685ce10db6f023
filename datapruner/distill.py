"""Distill: a training loss that learns from a teacher's outputs beside the labels."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from .distill_rules import auto_weight
from .distill_specs import Kind, refuse_impossible
from .errors import UsageError, suggest
from .loaders import Batch, Loader
from .losses import Loss, SmoothedCrossEntropy, cross_entropy
from .teachers import Teacher, as_teacher, disagreement

Share = float | Literal["auto"] | Callable[[float, float], float]
"""A weight in [0, 1]; "auto"; or a function of (fraction kept, progress)."""


def softened_kl(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)) of each row.

    Hinton, Vinyals and Dean 2015. T^2 keeps the size of the gradient when T changes.

    Args:
        student: logits (b, C).
        teacher: logits (b, C).
        temperature: T.

    Returns:
        (b,), in nats; 0 where both agree, high is bad.

    Example:
        >>> softened_kl(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 3.0]])).item()
        0.0
    """
    target = (teacher / temperature).log_softmax(1)
    own = (student / temperature).log_softmax(1)
    return temperature**2 * functional.kl_div(own, target, reduction="none", log_target=True).sum(1)


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over the classes of the squared difference of logits, of each row.

    Ba and Caruana 2014, up to a factor. There is no temperature: as it grows, `softened_kl` tends
    to half of this, once the logits of each row are centred.

    Args:
        student: logits (b, C).
        teacher: logits (b, C).

    Returns:
        (b,); 0 where both agree, high is bad.

    Example:
        >>> logit_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]])).item()
        2.5
    """
    return (student - teacher).square().mean(1)


def decoupled_kl(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    *,
    target: float = 1.0,
    others: float = 8.0,
) -> Tensor:
    """Return T^2 (target * TCKD + others * NCKD) of each row.

    Zhao, Cui, Song, Qiu and Liang 2022. TCKD is the KL between the two-way distributions (label,
    any other class); NCKD the KL between the distributions over the other classes alone. Hinton's
    KL is TCKD + (1 - p) NCKD with p the teacher's softened probability of the label, so that what
    a sure teacher says of the other classes hardly counts there. The authors have no (1 - weight)
    on cross entropy, and raise the term over the first epochs; give `weight` a function for that.

    Args:
        student: logits (b, C), of two classes at least.
        teacher: logits (b, C).
        labels: (b,).
        temperature: T.
        target: the paper's alpha.
        others: the paper's beta; it was tuned for each pair of networks.

    Returns:
        (b,), in nats; 0 where both agree, high is bad.

    Example:
        >>> same = torch.tensor([[1.0, 2.0, 0.0]])
        >>> decoupled_kl(same, same + 1, torch.tensor([1])).abs().item() < 1e-4
        True
    """
    place = labels[:, None]
    own, its = student / temperature, teacher / temperature
    hidden = torch.zeros_like(own, dtype=torch.bool).scatter_(1, place, True)
    rest_own, rest_its = (x.masked_fill(hidden, float("-inf")) for x in (own, its))
    whole_own, whole_its = own.logsumexp(1), its.logsumexp(1)

    def two_way(x: Tensor, rest: Tensor, whole: Tensor) -> Tensor:
        label = x.gather(1, place)[:, 0] - whole
        return torch.stack([label, rest.logsumexp(1) - whole], 1)

    a, b = two_way(own, rest_own, whole_own), two_way(its, rest_its, whole_its)
    tckd = functional.kl_div(a, b, reduction="none", log_target=True).sum(1)
    # -inf stands where the label was: a finite number there, which its probability of 0 takes out
    log_own, log_its = (x.log_softmax(1).masked_fill(hidden, 0.0) for x in (rest_own, rest_its))
    nckd = (log_its.exp().masked_fill(hidden, 0.0) * (log_its - log_own)).sum(1)
    return temperature**2 * (target * tckd + others * nckd)


class Distill:
    """Learn from labels and a teacher: (1 - weight) CE + weight T^2 KL(teacher || student).

    Hinton et al. 2015; on pruned data Ben-Baruch et al. 2024. `weight` is that of the teacher's
    term. Where a library's alpha multiplies that term (Ben-Baruch et al.), weight = alpha; where
    it multiplies the cross entropy (torchdistill), weight = 1 - alpha; and some leave out T^2,
    which makes their alpha another one at each temperature.

    The teacher is in eval mode, without gradients and in float32; its modes are put back. A network
    sees the batch that the student sees, so the views are the same; cached logits are looked up by
    the batch's index, and refused for a loader that gives other views. Keep in mind that a teacher
    trained on all data has seen the examples that were pruned.

    Args:
        teacher: a network; what `load_teacher` or `cache_teacher` return; or a list of these,
            whose logits are averaged.
        weight: share of the teacher's term, in [0, 1]; a function of (fraction, progress), the
            fraction being that of the readable examples in the first epoch; or "auto", which is
            `auto_weight` of that fraction and the share of wrong labels. At 0 the teacher is not
            asked, and the loss is the plain one bit for bit.
        temperature: T, above 0; mse has none.
        kind: "kl"; "mse" on logits; or "dkd", decoupled. See `softened_kl`, `logit_mse` and
            `decoupled_kl`.
        label_smoothing: of the cross entropy, in [0, 1).
        noise: share of wrong labels for "auto", from `find_suspects` for instance; None takes the
            share of labels that the teacher disagrees with.

    Raises:
        UsageError: a value out of range.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> loader, run = dp.TensorLoader(data), dp.Run(model="mlp", epochs=3, lr=0.05)
        >>> teacher, student = (dp.make_model("mlp", 10, data.shape, seed=s) for s in (0, 1))
        >>> _ = dp.fit(teacher, loader, None, run)
        >>> loss = dp.Distill(teacher, weight=0.5, temperature=4.0)
        >>> dp.fit(student, loader, dp.Fixed(range(100)), run, loss=loss).examples
        300
    """

    def __init__(
        self,
        teacher: nn.Module | Teacher | Sequence[nn.Module | Teacher],
        weight: Share = "auto",
        temperature: float = 4.0,
        kind: Kind = "kl",
        label_smoothing: float = 0.0,
        *,
        noise: float | None = None,
    ) -> None:
        if isinstance(weight, str) and weight != "auto":
            raise UsageError(f"weight={weight!r}; {suggest(weight, ['auto'])}")
        if kind not in get_args(Kind):
            raise UsageError(f"kind={kind!r}; {suggest(str(kind), get_args(Kind))}")
        refuse_impossible(0.0 if callable(weight) else weight, temperature, kind)
        if not 0 <= label_smoothing < 1:
            raise UsageError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        if noise is not None and not 0 <= noise <= 1:
            raise UsageError(f"noise must be a share in [0, 1], not {noise}")
        self.teacher, self.weight = as_teacher(teacher), weight
        self.temperature, self.kind = float(temperature), kind
        self.label_smoothing, self.noise = label_smoothing, noise

    def bind(self, fraction: float, loader: Loader, order: Tensor | None = None) -> "Lesson":
        """Return the loss for a run on this share of this loader's examples.

        Args:
            fraction: as in `losses.Adaptive`.
            loader: what the run trains on.
            order: (m,) what it trains on first, where labels are compared with the teacher; None
                is every readable example.

        Raises:
            Refused: the teacher does not fit the examples.
        """
        about: dict[str, Any] = {"teacher": self.teacher.fingerprint, "kind": self.kind}
        weight = self.weight
        if not callable(weight) and weight == 0:
            return Lesson(self, loader, fraction, 0.0, None, about | {"weight": 0.0})
        target = self.teacher.bind(loader)
        about |= {"temperature": self.temperature, "views": self.teacher.views_seen}
        if weight == "auto":
            noise = disagreement(target, loader, order) if self.noise is None else self.noise
            weight = auto_weight(fraction, noise)
            about |= {"fraction": fraction, "noise": noise}
        about["weight"] = "a function" if callable(weight) else weight
        return Lesson(self, loader, fraction, weight, target, about)


class Lesson:
    """A `Distill` bound to what is trained on: (logits, batch, progress) -> (b,) float32.

    Attributes:
        loader: what it is bound to, and is to be trained on.
        about: the teacher, how it sees the examples, the weight and why.
    """

    def __init__(
        self,
        distill: Distill,
        loader: Loader,
        fraction: float,
        weight: float | Callable[[float, float], float],
        target: Callable[[Batch], Tensor] | None,
        about: dict[str, Any],
    ) -> None:
        self.distill, self.loader, self.fraction, self.weight = distill, loader, fraction, weight
        self.target, self.about = target, about
        smoothing = distill.label_smoothing
        self.hard: Loss = SmoothedCrossEntropy(smoothing) if smoothing else cross_entropy

    def __call__(self, logits: Tensor, batch: Batch, progress: float = 0.0) -> Tensor:
        """Return one loss per row.

        Raises:
            UsageError: the weight at this progress is none, or the teacher has other classes.
        """
        weight = self._weight(progress)
        if weight == 0 or self.target is None:
            return self.hard(logits, batch, progress)
        soft = self._soft(logits.float(), batch, self.target(batch).to(logits.device))
        return (
            soft
            if weight == 1
            else (1 - weight) * self.hard(logits, batch, progress) + (weight * soft)
        )

    def _weight(self, progress: float) -> float:
        if not callable(self.weight):
            return self.weight
        weight = float(self.weight(self.fraction, progress))
        if not 0 <= weight <= 1:
            raise UsageError(f"weight({self.fraction:g}, {progress:g}) is {weight}, not in [0, 1]")
        return weight

    def _soft(self, student: Tensor, batch: Batch, teacher: Tensor) -> Tensor:
        if teacher.shape != student.shape:
            raise UsageError(
                f"the teacher gives {teacher.shape[1]} logits an example, the network "
                f"{student.shape[1]}; take a teacher of the same classes"
            )
        kind, temperature = self.distill.kind, self.distill.temperature
        if kind == "mse":
            return logit_mse(student, teacher)
        if kind == "dkd":
            return decoupled_kl(student, teacher, batch.y, temperature)
        return softened_kl(student, teacher, temperature)
