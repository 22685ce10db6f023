"""Where a sweep's runs are logged: a JSONL file always, other trackers where they are asked for."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from .errors import PrunerError, UsageError, suggest


@dataclass(frozen=True)
class Logged:
    """A finished run, as trackers take it.

    Attributes:
        name: of the run, the same when the same run is logged again.
        settings: what it was run with.
        epochs: a row each, with `epoch` and the numbers of that epoch.
        result: what it came to.
        error: why it failed; "" where it did not.

    Example:
        >>> Logged("a", {"lr": 0.1}).error
        ''
    """

    name: str
    settings: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    result: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def words(self) -> dict[str, str]:
        """The settings as text."""
        return {name: str(value) for name, value in self.settings.items()}

    @property
    def curves(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The number of each epoch, and what can be drawn of it."""
        for row in self.epochs:
            left = {k: v for k, v in row.items() if k != "epoch" and isinstance(v, int | float)}
            yield int(row["epoch"]), {name: float(value) for name, value in left.items()}


class Tracker(Protocol):
    """What takes the log of finished runs; anything with this one method will do."""

    def log(self, run: Logged) -> None:
        """Take one run."""
        ...


class JsonLines:
    """Appends one line of JSON a run to a file; processes may share it.

    Args:
        path: the file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> JsonLines(file).log(Logged("a", {"lr": 0.1}, [], {"accuracy": 0.9}))
        >>> json.loads(file.read_text())["result"]
        {'accuracy': 0.9}
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def log(self, run: Logged) -> None:
        """Append the run; one write, so that lines of several processes do not mix."""
        row = asdict(run)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = (json.dumps({"time": now, "run": row.pop("name"), **row}) + "\n").encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


class _TensorBoard:
    """Event files in OUT/tensorboard/RUN."""

    def __init__(self, library: Any, folder: Path) -> None:
        self.writer = library.SummaryWriter
        self.folder = folder / "tensorboard"

    def log(self, run: Logged) -> None:
        with self.writer(str(self.folder / run.name)) as writer:
            for epoch, numbers in run.curves:
                for name, value in numbers.items():
                    writer.add_scalar(name, value, epoch)
            if run.error:
                writer.add_text("error", run.error)
            writer.add_hparams(run.words, dict(run.result), run_name=".")


class _MLflow:
    """An experiment of OUT's name, where MLflow is told to go, else in OUT/mlflow.db.

    Goes by a client of its own, so that a run or an experiment of the user's stays the active one.
    """

    def __init__(self, library: Any, folder: Path) -> None:
        own = f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        told = os.environ.get("MLFLOW_TRACKING_URI") or library.is_tracking_uri_set()
        self.client = library.MlflowClient(tracking_uri=None if told else own)
        self.entities = import_module("mlflow.entities")
        name = folder.resolve().name
        held = self.client.get_experiment_by_name(name)
        try:
            made = held.experiment_id if held else self.client.create_experiment(name)
        except library.MlflowException:  # another process was quicker
            made = self.client.get_experiment_by_name(name).experiment_id
        self.experiment = made

    def log(self, run: Logged) -> None:
        now, kinds = int(1000 * time.time()), self.entities
        name = f"attributes.run_name = '{run.name}'"
        held = self.client.search_runs([self.experiment], name, max_results=1)
        its = held[0] if held else self.client.create_run(self.experiment, run_name=run.name)
        curves = [*run.curves, (0, dict(run.result))]
        metrics = [kinds.Metric(k, v, now, epoch) for epoch, row in curves for k, v in row.items()]
        params = [] if held else [kinds.Param(k, v) for k, v in run.words.items()]
        tags = [kinds.RunTag("error", run.error)] if held or run.error else []
        self.client.log_batch(its.info.run_id, params=params, tags=tags)
        for start in range(0, len(metrics), _MOST_AT_ONCE):
            self.client.log_batch(its.info.run_id, metrics[start : start + _MOST_AT_ONCE])
        self.client.set_terminated(its.info.run_id, "FAILED" if run.error else "FINISHED")


_MOST_AT_ONCE = 1000  # metrics that MLflow's servers take in one request


class _Wandb:
    """A project of OUT's name; WANDB_MODE=offline writes to OUT/wandb alone."""

    def __init__(self, library: Any, folder: Path) -> None:
        self.wandb, self.folder = library, folder
        if os.environ.get("WANDB_MODE", "online") == "online":
            library.login()  # asked before the first run, not after it

    def log(self, run: Logged) -> None:
        its = self.wandb.init(
            project=self.folder.resolve().name,
            id=run.name,
            name=run.name,
            dir=str(self.folder),
            config=dict(run.settings),
            resume="allow",  # a run that failed is logged again under its name
            reinit="create_new",  # a run of the user's stays open
            settings=self.wandb.Settings(silent=True, console="off"),
        )
        for epoch, numbers in run.curves:
            its.log(numbers, step=epoch)
        its.summary.update({**run.result, "error": run.error})
        its.finish(exit_code=1 if run.error else 0)


_MADE: dict[str, tuple[str, Callable[[Any, Path], Tracker]]] = {
    "tensorboard": ("torch.utils.tensorboard", _TensorBoard),
    "mlflow": ("mlflow", _MLflow),
    "wandb": ("wandb", _Wandb),
}


def check_tracker(name: str) -> Any:
    """Return the library of a tracker; it is imported only now.

    Raises:
        UsageError: no such tracker.
        PrunerError: its library is not installed.

    Example:
        >>> check_tracker("tensorbord")
        Traceback (most recent call last):
        datapruner.errors.UsageError: no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    if name not in _MADE:
        raise UsageError(f"no tracker {name!r}; {suggest(name, _MADE)}")
    try:
        return import_module(_MADE[name][0])
    except ImportError as error:
        raise PrunerError(
            f"tracker {name!r} cannot be used ({error}); pip install {name}, or leave "
            "out --track: log.jsonl is written in any case"
        ) from None


def make_tracker(name: str, folder: Path) -> Tracker:
    """Return a tracker by name, connected to where it writes.

    Args:
        name: tensorboard, mlflow or wandb.
        folder: of the sweep: its log goes there where the tracker keeps files.

    Raises:
        UsageError: no such tracker.
        PrunerError: its library is not installed, or it has no place to write to.
    """
    library = check_tracker(name)
    try:
        return _MADE[name][1](library, folder)
    except Exception as error:  # whatever the library makes of a server that is not there
        raise PrunerError(
            f"tracker {name!r} cannot be opened ({_line(error)}); mend that, or leave out --track: "
            "log.jsonl is written in any case"
        ) from error


def log_run(trackers: Sequence[Tracker], run: Logged) -> list[str]:
    """Log a run with every tracker; return a line for each that could not take it.

    What a server or a full disk does to a log is no reason to lose the runs to come.

    Example:
        >>> log_run([JsonLines("/dev/null/log")], Logged("a", {}))[0].partition(":")[0]
        'a is not logged by JsonLines'
    """
    lines = []
    for tracker in trackers:
        try:
            tracker.log(run)
        except Exception as error:
            kind = type(tracker).__name__.removeprefix("_")
            lines.append(f"{run.name} is not logged by {kind}: {_line(error)}")
    return lines


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
