"""A grid of runs, as a person writes it in YAML; what cannot be run is named with its line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from .errors import PrunerError, UsageError, suggest
from .grid_words import GROUPS, check_value, whole_name
from .run import Run

KEYS = ("data", "seeds", "validation", "controls", "base", "grid")
Values = dict[str, Any]
Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Grid:
    """What a sweep runs: settings that all points share, and axes whose values are combined.

    Attributes:
        data: what `open_data` is to open.
        base: setting -> value, of every point.
        grids: each axis -> values; the points of a grid are all combinations of its values.
        seeds: every point is run with each of them.
        validation: share of the training set that is set aside, stratified, before anything is
            scored or trained; the Pareto front is chosen on it. 0 sets nothing aside.
        controls: add the runs that make the others mean something: full and dense, a random
            subset, a mask found on one, a random mask, all data for as many steps.

    Raises:
        UsageError: a key, an axis or a value that there is not, with the nearest right word.

    Example:
        >>> grid = Grid.from_dict({"data": "digits", "grid": {"fraction": [1, 0.1]}})
        >>> grid.grids
        ({'fraction': (1.0, 0.1)},)
    """

    data: str
    base: Values = field(default_factory=dict)
    grids: tuple[dict[str, tuple[Any, ...]], ...] = ({},)
    seeds: tuple[int, ...] = (0, 1, 2)
    validation: float = 0.1
    controls: bool = True

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Grid":
        """Build a grid from plain values, as a YAML file has them.

        Example:
            >>> Grid.from_dict({"data": "digits", "grid": {"fracton": [1]}})
            Traceback (most recent call last):
            datapruner.errors.UsageError: grid: no axis 'fracton'; did you mean 'fraction'?
        """
        return _Reading("grid", {}).grid(values)

    @classmethod
    def read(cls, path: Path | str) -> "Grid":
        """Read a grid from a YAML file.

        Raises:
            PrunerError: the file is missing or no YAML.
            UsageError: as `from_dict`, with file and line.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise PrunerError(f"{path}: no such file; check the path") from None
        except (OSError, UnicodeDecodeError) as error:
            raise PrunerError(f"{path}: cannot be read ({error}); give a YAML file") from None
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, name: str = "grid") -> "Grid":
        r"""Read a grid from YAML text.

        Args:
            text: the YAML.
            name: what messages call it.

        Example:
            >>> Grid.from_text("data: digits\ngrid:\n  density: [1, 0]\n")
            Traceback (most recent call last):
            datapruner.errors.UsageError: grid, line 3: density must be above 0 ..., not 0.0
        """
        try:
            node = yaml.compose(text, _Loader)
            values = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = "" if mark is None else f", line {mark.line + 1}"
            said = getattr(error, "problem", None) or "cannot be read"
            raise PrunerError(f"{name}{at}: no YAML ({said}); correct the line") from None
        lines: dict[Where, int] = {}
        reading = _Reading(name, lines)
        if node is not None:
            for where, line in _lines(node, (), reading):
                lines[where] = line
        return reading.grid(values)

    def plain(self) -> Values:
        """Return the grid as plain values that `from_dict` reads."""
        return {
            "data": self.data,
            "seeds": list(self.seeds),
            "validation": self.validation,
            "controls": self.controls,
            "base": dict(self.base),
            "grid": [{name: list(of) for name, of in grid.items()} for grid in self.grids],
        }


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # where its stubs are not installed
    """A SafeLoader that takes 1e-3 for the number it is, as everybody but YAML 1.1 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _lines(node: Any, where: Where, reading: "_Reading") -> Iterator[tuple[Where, int]]:
    """Give the line of every key and item, and refuse a key that stands twice."""
    yield where, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*where, key.value)
            reading.lines[here] = key.start_mark.line + 1
            if key.value in seen:
                reading.refuse(here, f"{key.value!r} stands twice; keep one of them")
            seen.add(key.value)
            for inner, line in _lines(value, here, reading):
                yield inner, key.start_mark.line + 1 if inner == here else line
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _lines(item, (*where, place), reading)


class _Reading:
    """One grid being read: its name and the line of each of its parts."""

    def __init__(self, name: str, lines: dict[Where, int]) -> None:
        self.name, self.lines = name, lines

    def refuse(self, where: Where, text: str) -> None:
        """Raise a UsageError that names the place."""
        while where and where not in self.lines:
            where = where[:-1]
        line = f", line {self.lines[where]}" if where in self.lines else ""
        raise UsageError(f"{self.name}{line}: {text}")

    def grid(self, values: Any) -> Grid:
        """Check and build the whole."""
        if not isinstance(values, Mapping):
            self.refuse((), f"must be settings by name: {', '.join(KEYS)}")
        for key in values:
            if key not in KEYS:
                self.refuse((key,), f"no key {key!r}; {suggest(str(key), KEYS)}")
        if not isinstance(values.get("data"), str):
            self.refuse(("data",), "needs a key 'data', such as `data: digits`")
        base = self._base(values.get("base"))
        grid = values.get("grid")
        several = isinstance(grid, list)
        if several and not grid:
            self.refuse(("grid",), "'grid' is empty; give an axis such as `fraction: [1, 0.1]`")
        parts = enumerate(grid) if isinstance(grid, list) else [(None, grid)]
        places: list[tuple[Where, Any]] = [
            (("grid",) if place is None else ("grid", place), part) for place, part in parts
        ]
        grids = tuple(self._axes(where, part, base) for where, part in places)
        return Grid(
            values["data"],
            base,
            grids,
            self._seeds(values.get("seeds", 3)),
            self._share(values.get("validation", 0.1)),
            self._flag(values.get("controls", True)),
        )

    def _base(self, values: Any) -> Values:
        base: Values = {}
        for where, name, value in self._settings(("base",), values):
            if isinstance(value, list) and name not in _LISTS:
                self.refuse(where, f"'base' has one value for {name!r}; put a list under 'grid'")
            base[name] = self._checked(where, name, value)
        return base

    def _axes(self, where: Where, values: Any, base: Values) -> dict[str, tuple[Any, ...]]:
        axes: dict[str, tuple[Any, ...]] = {}
        for here, name, value in self._settings(where, values):
            several = value if isinstance(value, list) else [value]
            if not several:
                self.refuse(here, f"axis {name!r} is empty; give it a value, or leave it out")
            found: list[Any] = []
            for place, one in enumerate(several):
                checked = self._checked((*here, place), name, one)
                if checked in found:
                    self.refuse((*here, place), f"axis {name!r} has {one!r} twice")
                found.append(checked)
            if name in _UNNAMED and len(found) > 1:
                text = f"{name!r} says how a run is carried out, and names none; give one value"
                self.refuse(here, text)
            axes[name] = tuple(found)
        if "epochs" in axes and ("steps" in axes or base.get("steps")):
            self.refuse((*where, "epochs"), "a budget is in epochs or in steps; take one of them")
        return axes

    def _settings(self, where: Where, values: Any) -> Iterator[tuple[Where, str, Any]]:
        """Give each setting by its whole name; groups such as `weights` may nest."""
        if values is None:
            return
        if not isinstance(values, Mapping):
            self.refuse(where, f"{where[0]!r} must be settings by name, not {values!r}")
        seen: set[str] = set()
        for key, value in values.items():
            here = (*where, key)
            if isinstance(value, Mapping):
                inner = [((*here, k), f"{key}.{k}", v) for k, v in value.items()]
                if key not in GROUPS:
                    self.refuse(here, f"no group {key!r}; {suggest(str(key), GROUPS)}")
            else:
                inner = [(here, str(key), value)]
            for place, word, one in inner:
                try:
                    name = whole_name(word)
                except UsageError as error:
                    self.refuse(place, str(error))
                if name in seen:
                    self.refuse(place, f"{name!r} stands twice; keep one of them")
                seen.add(name)
                yield place, name, one

    def _checked(self, where: Where, name: str, value: Any) -> Any:
        try:
            return check_value(name, value)
        except UsageError as error:
            self.refuse(where, str(error))

    def _seeds(self, value: Any) -> tuple[int, ...]:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and value >= 1:
            return tuple(range(value))
        plain = isinstance(value, list) and all(type(one) is int for one in value)
        if plain and value and len(set(value)) == len(value):
            return tuple(value)
        self.refuse(("seeds",), f"seeds must be how many, or a list of them, not {value!r}")
        raise AssertionError

    def _share(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            self.refuse(("validation",), f"validation must be in [0, 1), not {value!r}")
        return float(value)

    def _flag(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self.refuse(("controls",), f"controls must be true or false, not {value!r}")
        return bool(value)


# settings whose one value is a list
_LISTS = tuple(f.name for f in fields(Run) if isinstance(f.default, tuple))
# settings that are not in the id of a run: with two values of one, two points were one run
_UNNAMED = tuple(f.name for f in fields(Run) if not f.metadata["in_id"])
