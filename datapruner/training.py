"""train(): from a Run to a trained network; and the loaders and networks that a Run names."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .augment import Normalise
from .by_score import ByScore
from .checkpoint import load_tensors, load_weights, save_tensors
from .claiming import claim, unclaim
from .engine import fit
from .errors import UsageError
from .files import write_json
from .hardware import pick_device
from .history import History
from .hooks import Progress
from .infobatch import InfoBatch
from .loaders import Loader, TensorLoader, TorchLoader
from .losses import Loss
from .mixed import Mixed
from .models import make_model
from .rs2 import RS2
from .run import Run
from .sampler_specs import ByScoreSpec, InfoBatchSpec, KeepSpec, RS2Spec
from .samplers import Fixed, Sampler

if TYPE_CHECKING:
    from .data import Data
    from .distill import Lesson

PHOTO_SIZE = 224


def train(
    run: Run,
    data: "Data | None" = None,
    *,
    test: "Data | None" = None,
    loss: Loss | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> tuple[nn.Module, History]:
    """Train the network of a run on what its sampler draws, from nothing but the run.

    Args:
        run: what to train, on what, how.
        data: the training split; None opens `run.data`.
        test: read after each epoch for the history; None opens the test split of `run.data` when
            the data are opened here, and reads nothing when they were handed over.
        loss: see `fit`.
        out: folder for run.json, history.json and model.safetensors; a killed run goes on when it
            is called again with the same folder.
        progress: see `fit`.

    Returns:
        The trained network in eval mode, and its history.

    Raises:
        UsageError: neither data nor `run.data` is given, or both a loss and `run.distill`.
        Refused: `out` holds another run, or the selection or the teacher is of other data.

    Example:
        >>> model, history = train(Run(data="digits", model="mlp", epochs=2))
        >>> history.steps
        24
    """
    from .data import open_data

    if data is None:
        if run.data is None:
            raise UsageError("nothing to train on; set run.data or hand over data")
        data = open_data(run.data)
        test = open_data(run.data, "test") if test is None else test
    sampler, fingerprints = make_sampler(run, data)
    if loss is not None and run.distill is not None:
        raise UsageError("loss and run.distill are both given; give one of them")
    loader, lesson = make_lesson(run, data, sampler, fingerprints)
    run_id = run.id(**fingerprints)
    tester = None if test is None else make_loader(test, run, like=loader)
    model = network(run, data, loader)
    if run.weights is not None:
        run.weights.check(model)
    # last of all, so that a word that is wrong leaves no folder behind
    folder = None if out is None else claim(out, "train", run_id, run, fingerprints)
    if folder is not None and (done := finished(folder, model)) is not None:
        return model.eval(), done
    try:
        history = fit(
            model,
            loader,
            sampler,
            run,
            loss=loss if lesson is None else lesson,
            masks=run.weights,
            test=tester,
            checkpoint=None if folder is None else folder / "checkpoint.safetensors",
            run_id=run_id,
            progress=progress,
        )
    except UsageError:  # what only fit can see, such as a pattern that the network does not have
        if folder is not None:
            unclaim(folder, [folder])
        raise
    if folder is not None:
        if lesson is not None:
            write_json(folder / "distill.json", lesson.about)
        write_json(folder / "history.json", history.rows())
        finish(folder, model, history, run_id)
    return model.eval(), history


def make_lesson(
    run: Run, data: "Data", sampler: Sampler, fingerprints: dict[str, str]
) -> "tuple[Loader, Lesson | None]":
    """Return the run's loader, and the loss of its teacher, None where it has none.

    A teacher's fingerprint joins `fingerprints`, which the run's id hashes.

    Raises:
        UsageError: the teacher's word names nothing.
        Refused: the teacher does not fit the data or the run.
    """
    loader = make_loader(data, run)
    if run.distill is None:
        return loader, None
    from .teacher_words import taught

    lesson = taught(run, data, loader, sampler)
    fingerprints["teacher"] = lesson.about["teacher"]
    return lesson.loader, lesson


def finished(folder: Path, model: nn.Module) -> History | None:
    """Give the network the weights of the finished run in a folder; None where none is.

    Raises:
        Refused: they are another network's.
    """
    path = folder / "model.safetensors"
    if not path.exists():
        return None
    sections, about = load_tensors(path)
    load_weights(model, sections["model"], folder)
    return History.from_rows(about["history"])


def finish(folder: Path, model: nn.Module, history: History, run_id: str) -> None:
    """Write the weights and history that `finished` reads, and drop the checkpoint."""
    about = {"run": run_id, "history": history.rows()}
    save_tensors(folder / "model.safetensors", {"model": model.state_dict()}, about)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def make_sampler(run: Run, data: "Data") -> tuple[Sampler, dict[str, str]]:
    """Return the run's sampler, and the fingerprints that its id hashes.

    Raises:
        Refused: the selection was made from other data.
    """
    from .selection import Selection

    fingerprints = {"data": data.fingerprint}
    spec = run.sampler
    if isinstance(spec, KeepSpec):
        selection = Selection.load(spec.folder, data=data)
        fingerprints["selection"] = selection.fingerprint
        return Fixed(selection, seed=run.seed), fingerprints
    if isinstance(spec, RS2Spec):
        return _rs2(spec, run), fingerprints
    if isinstance(spec, InfoBatchSpec):
        whole = -(-int(data.readable.sum()) // run.batch_size)  # steps of an epoch of everything
        epochs = -(-run.steps // whole) if run.steps else run.epochs
        return InfoBatch(epochs, spec.ratio, spec.delta, run.seed), fingerprints
    if isinstance(spec, ByScoreSpec):
        own = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name != "random"}
        by_score = ByScore(**own, seed=run.seed)
        return Mixed(by_score, spec.random) if spec.random else by_score, fingerprints
    return Fixed(seed=run.seed), fingerprints


def _rs2(spec: RS2Spec, run: Run) -> RS2:
    share: float | Callable[[float], float] = spec.fraction
    if spec.final is not None:
        first, last = spec.fraction, spec.final
        share = lambda progress: first + (last - first) * progress  # noqa: E731 - a line
    return RS2(
        share,
        run.seed,
        replacement=spec.replacement,
        stratified=spec.stratified,
        epochs=run.epochs,
    )


def make_loader(data: "Data", run: Run, *, like: Loader | None = None) -> Loader:
    """Return the loader that suits the data: in memory, FFCV for a .beton, else worker processes.

    Args:
        data: what to load.
        run: batch size, seed, augmentation, picture size, workers and device are read.
        like: the training loader, whose normalisation a test loader takes over.
    """
    normalise: Normalise | None = getattr(like, "normalise", None)
    device = pick_device(run.device)
    if getattr(data.dataset, "beton", None) is not None:
        from .ffcv import FFCVLoader

        loader = FFCVLoader(
            data.dataset.beton,
            run.batch_size,
            workers=run.workers,
            seed=run.seed,
            augment=run.augment,
            normalise=normalise,
            image_size=run.image_size,
        )
        # what the data say holds, not the file: labels may be replaced, examples put aside
        loader.labels, loader.readable = data.labels, data.readable
        return loader
    if data.x is not None and not run.image_size:
        return TensorLoader(
            data,
            run.batch_size,
            seed=run.seed,
            augment=run.augment,
            normalise=normalise,
            device=device,
        )
    size = run.image_size
    if data.is_image and not size and _varies(data):
        size = PHOTO_SIZE
    return TorchLoader(
        data,
        run.batch_size,
        seed=run.seed,
        augment=run.augment,
        normalise=normalise,
        workers=run.workers,
        pin_memory=device.type == "cuda",
        image_size=size,
    )


def _varies(data: "Data") -> bool:
    """Tell whether examples come as PIL pictures, which may differ in size."""
    example = data.dataset[int(data.readable.nonzero()[0])][0]
    return not isinstance(example, torch.Tensor) and hasattr(example, "size")


def network(run: Run, data: "Data", loader: Loader) -> nn.Module:
    """Return the run's untrained network, made for the shape of the loader's batches."""
    first = data.readable.nonzero()[0]
    shape: Any = tuple(next(iter(loader(first, train=False))).x.shape[1:])
    return make_model(run.model, data.num_classes, shape, seed=run.seed)
