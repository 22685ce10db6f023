"""Where a sweep's runs are logged: a JSONL file always, other trackers where they are asked for."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from .errors import PrunerError, UsageError, suggest


class Tracker(Protocol):
    """What takes the log of finished runs; anything with this one method will do."""

    def log(
        self,
        name: str,
        settings: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]],
        result: Mapping[str, float],
    ) -> None:
        """Take one run.

        Args:
            name: of the run, the same when the same run is logged again.
            settings: what it was run with.
            epochs: a row each, with `epoch` and the numbers of that epoch.
            result: what it came to.
        """
        ...


class JsonLines:
    """Appends one line of JSON a run to a file; processes may share it.

    Args:
        path: the file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> JsonLines(file).log("a", {"lr": 0.1}, [], {"accuracy": 0.9})
        >>> json.loads(file.read_text())["result"]
        {'accuracy': 0.9}
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def log(
        self,
        name: str,
        settings: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]],
        result: Mapping[str, float],
    ) -> None:
        """Append the run; one write, so that lines of several processes do not mix."""
        row = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "run": name,
            "settings": dict(settings),
            "result": dict(result),
            "epochs": [dict(epoch) for epoch in epochs],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(row) + "\n").encode()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        self.writer = import_module("torch.utils.tensorboard").SummaryWriter
        self.folder = folder / "tensorboard"

    def log(
        self,
        name: str,
        settings: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]],
        result: Mapping[str, float],
    ) -> None:
        writer = self.writer(str(self.folder / name))
        for epoch in epochs:
            for key, value in _numbers(epoch).items():
                writer.add_scalar(key, value, int(epoch["epoch"]))
        writer.add_hparams({k: str(v) for k, v in settings.items()}, dict(result), run_name=".")
        writer.close()


class _MLflow:
    def __init__(self, folder: Path) -> None:
        self.mlflow = import_module("mlflow")
        self.experiment = folder.resolve().name

    def log(
        self,
        name: str,
        settings: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]],
        result: Mapping[str, float],
    ) -> None:
        self.mlflow.set_experiment(self.experiment)
        with self.mlflow.start_run(run_name=name):
            self.mlflow.log_params({k: str(v) for k, v in settings.items()})
            for epoch in epochs:
                self.mlflow.log_metrics(_numbers(epoch), step=int(epoch["epoch"]))
            self.mlflow.log_metrics(dict(result))


class _Wandb:
    def __init__(self, folder: Path) -> None:
        self.wandb = import_module("wandb")
        self.folder = folder

    def log(
        self,
        name: str,
        settings: Mapping[str, Any],
        epochs: Sequence[Mapping[str, Any]],
        result: Mapping[str, float],
    ) -> None:
        run = self.wandb.init(
            project=self.folder.resolve().name,
            name=name,
            dir=str(self.folder),
            config=dict(settings),
            reinit=True,
        )
        for epoch in epochs:
            run.log(_numbers(epoch), step=int(epoch["epoch"]))
        run.summary.update(dict(result))
        run.finish()


_MADE: dict[str, Callable[[Path], Tracker]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _Wandb,
}


def make_tracker(name: str, folder: Path) -> Tracker:
    """Return a tracker by name; the library is imported only now.

    Args:
        name: tensorboard, mlflow or wandb.
        folder: of the sweep: its log goes there where the tracker keeps files.

    Raises:
        UsageError: no such tracker.
        PrunerError: its library is not installed.

    Example:
        >>> make_tracker("tensorbord", Path("runs"))
        Traceback (most recent call last):
        datapruner.errors.UsageError: no tracker 'tensorbord'; did you mean 'tensorboard'?
    """
    if name not in _MADE:
        raise UsageError(f"no tracker {name!r}; {suggest(name, _MADE)}")
    try:
        return _MADE[name](folder)
    except ImportError as error:
        raise PrunerError(
            f"tracker {name!r} cannot be used ({error}); pip install {name}, or leave "
            "out --track: log.jsonl is written in any case"
        ) from None


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what can be drawn of an epoch."""
    left = {k: v for k, v in row.items() if k != "epoch" and isinstance(v, int | float)}
    return {k: float(v) for k, v in left.items()}
