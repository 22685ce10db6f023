"""record(): train once, and keep the traces that every training-dynamics scorer reads."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from .checkpoint import save_tensors, weights_hash
from .engine import fit
from .errors import Refused, UsageError
from .evaluation import predict
from .hooks import Progress
from .loaders import Batch, Loader
from .recorder import Recorder
from .run import Run
from .samplers import Sampler
from .traces import Record

if TYPE_CHECKING:
    from .data import Data
    from .masks.engine import Pruning
    from .weight_specs import WeightPruning


@overload
def record(
    data: "Data",
    run: Run,
    path: Path | str | None = ...,
    *,
    checkpoints: Sequence[int] = ...,
    progress: Progress | None = ...,
) -> Record: ...
@overload
def record(
    data: "Data",
    run: Run,
    path: Path | str | None = ...,
    *,
    seeds: int,
    checkpoints: Sequence[int] = ...,
    progress: Progress | None = ...,
) -> list[Record]: ...
def record(
    data: "Data",
    run: Run,
    path: Path | str | None = None,
    *,
    seeds: int | None = None,
    checkpoints: Sequence[int] = (),
    progress: Progress | None = None,
) -> Record | list[Record]:
    """Train the run's network on the data once, recording the five traces of each example.

    Training rows are taken in the training pass, before the step. Clean rows (eval mode, no
    augmentation, float32) are taken after the run's `clean_epochs`, by default one epoch at a
    tenth of the run (EL2N's epoch 20 of 200) and not before the third. The weights of each clean
    pass and those at the end are kept beside them, for the scorers that read gradients.

    Args:
        data: the training split.
        run: network and training settings.
        path: folder for the record; None takes a temporary one. With `seeds` the records lie in
            PATH/seed-0 and so on. Where a folder is given, a killed run goes on when it is called
            again, and a finished one is read instead of trained.
        seeds: how many runs to train, with seeds run.seed, run.seed + 1, ...
        checkpoints: further epochs (0 is the first) after which the weights are kept, which VoG
            reads; see `spread_epochs`.
        progress: called as progress(text, steps done, steps in all).

    Returns:
        The record; with `seeds` a list of them.

    Raises:
        Refused: the folder holds a record of other data or settings, or without the weights of
            an epoch in `checkpoints`.
        UsageError: `clean_epochs` or `checkpoints` that the run does not reach.

    Example:
        >>> import datapruner as dp
        >>> traces = dp.record(dp.open_data("digits"), dp.Run(model="mlp", epochs=2))
        >>> traces.trace("loss").shape, traces.clean_epochs
        (torch.Size([2, 1438]), (1,))
    """
    from dataclasses import replace

    if seeds is None:
        return _record_one(data, run, None if path is None else Path(path), checkpoints, progress)
    return [
        _record_one(
            data,
            replace(run, seed=run.seed + i),
            None if path is None else Path(path) / f"seed-{run.seed + i}",
            checkpoints,
            progress,
        )
        for i in range(seeds)
    ]


def spread_epochs(run: Run, count: int = 10) -> tuple[int, ...]:
    """Return `count` epochs spread evenly over a run, the last among them; fewer if it is short.

    Example:
        >>> spread_epochs(Run(epochs=30), 3)
        (9, 19, 29)
    """
    count = min(count, run.epochs)
    return tuple(round((i + 1) * run.epochs / count) - 1 for i in range(count))


def _record_one(
    data: "Data",
    run: Run,
    path: Path | None,
    checkpoints: Sequence[int],
    progress: Progress | None,
) -> Record:
    from .training import make_lesson, make_sampler, network

    sampler, fingerprints = make_sampler(run, data)
    loader, lesson = make_lesson(run, data, sampler, fingerprints)
    run_id = run.id(**fingerprints)
    if path is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        return _read(path, run_id, checkpoints)
    model = network(run, data, loader)
    cleaned = clean_epochs(run, sampler, loader)
    _refuse_late("checkpoints", checkpoints, run, _epochs(run, sampler, loader))
    recorder = Recorder(
        data.n,
        path,
        about={
            "seed": run.seed,
            "fingerprint": data.fingerprint,
            "run": run_id,
            "settings": run.changed(),
            "unreadable": (~data.readable).nonzero().flatten().tolist(),
        },
    )
    masks = None if run.weights is None else _Attached(run.weights)
    listening = _Listening(recorder, model, masks, loader, run, cleaned, checkpoints)
    checkpoint = recorder.folder / "checkpoint.safetensors" if path is not None else None
    fit(
        model,
        loader,
        sampler,
        run,
        loss=lesson,
        masks=masks,
        observers=[listening],
        checkpoint=checkpoint,
        run_id=run_id,
        progress=progress,
    )
    recorder.about["model_hash"] = save_weights(recorder.folder / "model.safetensors", model)
    record = recorder.close()
    if checkpoint is not None:  # only now: a process killed before this finds it, and goes on
        (record.folder / checkpoint.name).unlink(missing_ok=True)
    _refuse_without(record, checkpoints)
    return record


def clean_epochs(run: Run, sampler: Sampler, loader: Loader) -> tuple[int, ...]:
    """Return the epochs after which a clean pass is due: the run's, or one at a tenth of it.

    The tenth is never before the third epoch, where there is one: earlier, the errors of a network
    say more about its start than about the examples.

    Raises:
        UsageError: the run's budget in steps ends before one of its `clean_epochs`.
    """
    epochs = _epochs(run, sampler, loader)
    _refuse_late("clean_epochs", run.clean_epochs, run, epochs)
    return tuple(sorted(set(run.clean_epochs))) or (max(min(3, epochs), round(epochs / 10)) - 1,)


def _epochs(run: Run, sampler: Sampler, loader: Loader) -> int:
    """Return how many epochs the run has; of a budget in steps their size is that of the first."""
    if not run.steps:
        return run.epochs
    order, _ = sampler.bind(len(loader.labels), loader.labels, loader.readable).draw(0)
    return -(-run.steps // -(-len(order) // loader.batch_size))


def _refuse_late(what: str, wanted: Sequence[int], run: Run, epochs: int) -> None:
    if late := [e for e in wanted if not 0 <= e < epochs]:
        has = f"{run.steps} steps are" if run.steps else "there are"
        raise UsageError(f"{what} {late}: {has} only {epochs} epochs here, 0 is the first")


def _read(path: Path, run_id: str, checkpoints: Sequence[int]) -> Record:
    if not (path / "record.json").exists():
        raise Refused(f"{path}: exists and is no record; give another place, or remove it")
    record = Record(path)
    if record.run_id != run_id:
        raise Refused(
            f"{path}: holds the record of another run ({record.run_id}, this is {run_id}); "
            "give another --out, or remove the folder"
        )
    _refuse_without(record, checkpoints)
    return record


def _refuse_without(record: Record, checkpoints: Sequence[int]) -> None:
    if missing := [e for e in checkpoints if e not in record.checkpoints]:
        raise Refused(
            f"{record.folder}: was recorded without keeping the weights after epochs "
            f"{', '.join(map(str, missing))} (it has {record.checkpoints}); ask for those, or "
            "remove the folder to train again"
        )


def save_weights(
    path: Path, model: nn.Module, effective: Mapping[str, Tensor] | None = None
) -> str:
    """Write the network's weights beside a record; return 16 hex digits over them.

    `effective` has, by parameter, what the network computed with in its place: soft masks do that.
    """
    if effective:
        model = copy.deepcopy(model)
        model.load_state_dict({**model.state_dict(), **effective})
    digest = weights_hash(model)
    save_tensors(path, {"model": model.state_dict()}, {"hash": digest})
    return digest


class _Attached:
    """Masks that an observer of the run can look through once they are attached."""

    def __init__(self, spec: "WeightPruning") -> None:
        self.spec = spec

    def attach(self, model: nn.Module, optimizer: torch.optim.Optimizer, **of: Any) -> "Pruning":
        """Attach the masks as the spec does, and keep hold of them."""
        self.now = self.spec.attach(model, optimizer, **of)
        return self.now


class _Listening:
    """The observer that feeds a Recorder from `fit`, and takes the clean passes."""

    def __init__(
        self,
        recorder: Recorder,
        model: nn.Module,
        masks: "_Attached | None",
        loader: Loader,
        run: Run,
        clean_epochs: tuple[int, ...],
        checkpoints: Sequence[int],
    ) -> None:
        self.recorder, self.model, self.loader, self.run = recorder, model, loader, run
        self.masks = masks
        self.clean_epochs = clean_epochs
        self.checkpoints = {*clean_epochs, *checkpoints}

    def observe(self, epoch: int, batch: Batch, logits: Tensor, losses: Tensor) -> None:
        """Hand a training batch on."""
        self.recorder.observe(epoch, batch.index, logits, batch.y)

    def end_epoch(self, epoch: int) -> None:
        """Close the epoch's row; take the clean pass where one is due."""
        self.recorder.end_epoch(epoch)
        if epoch in self.clean_epochs:
            run = self.run
            passes = predict(
                self.model,
                self.loader,
                device=run.device,
                precision="float32",
                forward=None if self.masks is None else self.masks.now.forward,
            )
            for batch, logits in passes:
                self.recorder.observe(epoch, batch.index, logits, batch.y, clean=True)
            self.recorder.end_clean()
        if epoch in self.checkpoints:
            effective = None if self.masks is None else self.masks.now.effective()
            path = self.recorder.folder / f"weights-{epoch}.safetensors"
            save_weights(path, self.model, effective)
        self.recorder.save_state()

    def resume(self, epoch: int) -> None:
        """Go on before `epoch`; what can no longer be kept is refused before any training."""
        folder = self.recorder.folder
        wanted = sorted(e for e in self.checkpoints if e < epoch)
        if past := [e for e in wanted if not (folder / f"weights-{e}.safetensors").exists()]:
            raise Refused(
                f"{folder}: {epoch} epochs are done, and the weights after epochs "
                f"{', '.join(map(str, past))} were not kept; leave what reads them for another "
                "--out, or remove the folder to train again"
            )
        self.recorder.resume(epoch, [e for e in self.clean_epochs if e < epoch])
