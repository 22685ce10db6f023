"""Which parameters are ranked, which are skipped and why, and finding layers by a pattern."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..errors import UsageError, suggest
from ..heads import classifier

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_LAYERS = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class Prunable:
    """The parameters that criteria rank, and the ones that they leave alone.

    Attributes:
        names: those that are ranked, in the network's order.
        skipped: the reason for each of the others.

    Example:
        >>> Prunable(("fc.weight",), {"fc.bias": "bias"}).text()
        'pruned: fc.weight; not pruned: 1 bias (fc.bias)'
    """

    names: tuple[str, ...]
    skipped: dict[str, str]

    def text(self) -> str:
        """Say in one line what is pruned and what is not."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            by_reason.setdefault(reason, []).append(name)
        left = [f"{len(names)} {reason} ({_some(names)})" for reason, names in by_reason.items()]
        return f"pruned: {_some(self.names)}" + ("; not pruned: " + ", ".join(left) if left else "")


def prunable(model: nn.Module, skip: str = "") -> Prunable:
    """Return which parameters of a network are ranked, and why the others are not.

    Ranked is what has two dimensions or more: matrices and kernels. Biases, norms, embeddings, what
    is broadcast (class tokens, embeddings of positions, scales of channels) and what takes no
    gradient never are.

    Args:
        model: the network.
        skip: more to leave alone, with commas between: `first` and `classifier`, the first and the
            last layer; or patterns of names, such as `stage1_*` or `*.conv1.weight`.

    Raises:
        UsageError: a pattern matches nothing, or nothing is left.

    Example:
        >>> found = prunable(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "classifier")
        >>> found.names
        ('0.weight',)
    """
    reasons: dict[int, str] = {}  # one layer that rules it out is enough, of those that share it
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            if reason := _never(module, own, parameter):
                reasons.setdefault(id(parameter), reason)
    once = dict(model.named_parameters())  # shared ones by their first name
    skipped = {name: reasons[id(p)] for name, p in once.items() if id(p) in reasons}
    names = [name for name in once if name not in skipped]
    for word in _words(skip):
        for name in _meant(word, names, model):
            skipped[name] = f"skipped by {word!r}"
    names = [name for name in names if name not in skipped]
    if not names:
        raise UsageError(
            f"{type(model).__name__} has nothing left to prune; "
            + ("skip less" if skip else "it has no matrix or kernel that is trained")
        )
    return Prunable(tuple(names), {n: skipped[n] for n in once if n in skipped})


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern means: of parameters, or of the layers that hold them.

    Raises:
        UsageError: it means none.

    Example:
        >>> matching("*.h2h", ["rnn.h2h.weight", "rnn.i2h.weight"])
        ['rnn.h2h.weight']
    """
    known = list(names)
    forms = (pattern, f"{pattern}.*")
    found = [n for n in known if any(fnmatchcase(t, f) for f in forms for t in (n, f".{n}"))]
    if not found:
        raise UsageError(f"{pattern!r} matches no layer that is pruned; {suggest(pattern, known)}")
    return found


def _never(module: nn.Module, own: str, parameter: nn.Parameter) -> str:
    if isinstance(module, _NORMS):
        return "norm"
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if parameter.ndim < 2:
        return "bias" if parameter.ndim else "scalar"
    if not isinstance(module, _LAYERS):
        if "bias" in own:  # of relative positions, say: a table that is added
            return "bias"
        if parameter.shape[0] == 1 or sum(size > 1 for size in parameter.shape) < 2:
            return "broadcast"
    return "" if parameter.requires_grad else "frozen"


def _meant(word: str, names: list[str], model: nn.Module) -> list[str]:
    if word == "first":
        return names[:1]
    if word == "classifier":
        layer = classifier(model)
        return [name for name in names if model.get_parameter(name) is layer.weight]
    return matching(word, names)


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _some(names: Iterable[str]) -> str:
    first, *rest = list(names)
    if len(rest) <= 2:
        return ", ".join([first, *rest])
    return f"{first}, ..., {rest[-1]}"
