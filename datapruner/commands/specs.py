"""Reading `--scorers el2n:window=5 aum`: names, and options by the scorer's own signature."""

import inspect
from collections.abc import Sequence
from typing import Any, get_type_hints

import yaml

from ..errors import UsageError, suggest
from ..typed import typed
from .making import FROM_ENSEMBLE, OF_A_RUN

# What `score` finds by itself in the data or a record, or makes: see `making`.
TRACED = frozenset(("loss", "margin", "error_norm", "entropy", "shift"))
AT_HAND = TRACED | OF_A_RUN.keys() | FROM_ENSEMBLE
AT_HAND |= {"n", "seed", "labels", "embedding", "holdout_loss"}


def read_specs(words: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names in order, and the options of each; nothing is trained for a wrong word.

    Raises:
        UsageError: an unknown scorer or option, a scorer named twice, or one whose sources this
            command cannot make.

    Example:
        >>> read_specs(["aum", "el2n:window=5"])
        (['aum', 'el2n'], {'el2n': {'window': 5}})
    """
    from scorers import BUDGETED, SCORERS

    names: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    for word in words:
        name, _, rest = word.partition(":")
        if name in BUDGETED:
            raise UsageError(
                f"{name} must know the budget and makes no table; see: datapruner select --help"
            )
        if name not in SCORERS:
            raise UsageError(f"no scorer {name!r}; {suggest(name, SCORERS)}")
        if name in names:
            raise UsageError(f"scorer {name!r} is named twice; name it once")
        parameters = inspect.signature(SCORERS[name]).parameters
        needs = [p for p, k in parameters.items() if k.kind is not k.KEYWORD_ONLY]
        if missing := [p for p in needs if p not in AT_HAND]:
            raise UsageError(
                f"scorer {name!r} needs {', '.join(missing)}, which this command does not make; "
                f"call datapruner.score({{...}}, [{name!r}]) with them from Python"
            )
        names.append(name)
        known = [p for p, k in parameters.items() if k.kind is k.KEYWORD_ONLY]
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if key not in known:
                raise UsageError(f"scorer {name!r} has no option {key!r}; {suggest(key, known)}")
            if not equals:
                raise UsageError(f"{word!r}: option {key!r} needs a value, such as {key}=...")
            hint = get_type_hints(SCORERS[name])[key]
            options.setdefault(name, {})[key] = typed(f"{name}:{key}", hint, yaml.safe_load(value))
    if not names:
        raise UsageError("no scorer is named; see: datapruner scorers")
    return names, options


def needs(names: Sequence[str]) -> set[str]:
    """Return every source that these scorers read.

    Example:
        >>> sorted(needs(["aum", "random"]))
        ['margin', 'n', 'seed']
    """
    from scorers import SCORERS

    return {
        p.name
        for name in names
        for p in inspect.signature(SCORERS[name]).parameters.values()
        if p.kind is not p.KEYWORD_ONLY
    }
