"""The words that name a teacher, and how a run that has one is taught."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from .checkpoint import load_tensors, load_weights
from .distill import Distill, Lesson
from .errors import PrunerError, Refused, UsageError
from .loaders import Loader
from .models import make_model
from .run import Run
from .samplers import Sampler
from .teacher_cache import CachedTeacher
from .teacher_pass import STATE
from .teachers import Ensemble, NetworkTeacher, Teacher
from .trained import saved_run
from .training import make_loader, network

if TYPE_CHECKING:
    from .data import Data


def load_teacher(
    word: str, data: "Data", *, run: Run | None = None, loader: Loader | None = None
) -> Teacher:
    """Return the teacher that a word names; everything about it is checked before it works.

    Args:
        word: a folder that `train` or `record` wrote; one that `cache_teacher` wrote; or
            NETWORK@FILE, the network being a name that `make_model` takes (torchvision:NAME,
            package.module:factory) and the file its weights: safetensors, or what torch.save wrote
            of a state_dict. Several with commas between are an ensemble, by the mean of their
            logits.
        data: what the student trains on.
        run: the student's; its picture size and device are read.
        loader: the student's, where there is one.

    Raises:
        UsageError: the word names nothing.
        Refused: a run or logits of other data, or other classes, or weights of another network.
        PrunerError: a file is damaged.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "full"
        >>> _ = dp.train(dp.Run(model="mlp", epochs=1), data, out=out)
        >>> load_teacher(str(out), data).views_seen
        'recomputed on the view that the student sees'
    """
    run = run or Run()
    loader = loader or make_loader(data, run)
    teachers = [_one(part.strip(), data, run, loader) for part in word.split(",")]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)


def taught(run: Run, data: "Data", loader: Loader, sampler: Sampler) -> Lesson:
    """Return the loss of a run that distils, bound to the loader that suits its teacher.

    A teacher with stored views has the student see these, by the augmentation seed that they were
    made with; everything else of the student's seed stays as it is.

    Args:
        run: whose `distill` is set.
        data: what it trains on.
        loader: `make_loader(data, run)`.
        sampler: the run's; labels are compared with the teacher on what its first epoch draws.

    Raises:
        UsageError: the teacher's word names nothing.
        Refused: the teacher does not fit the data or the run.
    """
    assert run.distill is not None
    teacher, spec = load_teacher(run.distill.teacher, data, run=run, loader=loader), run.distill
    members = teacher.teachers if isinstance(teacher, Ensemble) else (teacher,)
    stored = [one for one in members if isinstance(one, CachedTeacher) and one.views]
    if stored and spec.weight != 0:  # where several have views, others than the first's are refused
        loader = stored[0].loader(make_loader(data, replace(run, seed=stored[0].about["seed"])))
    distill = Distill(teacher, spec.weight, spec.temperature, spec.kind, run.label_smoothing)
    order = sampler.bind(data.n, data.labels, data.readable).draw(0)[0]
    return distill.bind(len(order) / int(data.readable.sum()), loader, order)


def _one(word: str, data: "Data", run: Run, loader: Loader) -> Teacher:
    folder = Path(word)
    if (folder / "teacher.json").exists():
        return CachedTeacher(folder, data)
    if (folder / STATE).exists():
        raise Refused(
            f"{folder}: the pass of this teacher was broken off; give the same `datapruner "
            "teacher` again, and it goes on"
        )
    if folder.is_dir():
        return _of_a_run(folder, data, run, loader)
    name, at, file = word.partition("@")
    if not at:
        if ":" in word:
            raise UsageError(
                f"teacher {word!r} has random weights; give a file of trained ones: {word}@FILE"
            )
        raise UsageError(
            f"no teacher {word!r}: no such folder; give the folder of a trained run or of cached "
            "logits, or NETWORK@FILE"
        )
    shape: Any = tuple(next(iter(loader(data.readable.nonzero()[0], train=False))).x.shape[1:])
    model = make_model(name, data.num_classes, shape)
    load_weights(model, read_weights(file), file)
    return NetworkTeacher(model, run.device, word)


def _of_a_run(folder: Path, data: "Data", run: Run, loader: Loader) -> Teacher:
    its = saved_run(folder, data)
    if its.image_size != run.image_size:
        raise Refused(
            f"{folder}: was trained with image_size {its.image_size}, this run has "
            f"{run.image_size}, and a teacher sees what the student sees; train them alike"
        )
    model = network(its, data, loader)
    load_weights(model, load_tensors(folder / "model.safetensors")[0]["model"], folder)
    return NetworkTeacher(model, run.device, str(folder))


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read a network's weights: safetensors, ours or anybody's, or a state_dict by torch.save.

    A state_dict that lies under "state_dict" or "model" is taken out, and the prefix "module." that
    torch's parallel wrappers give every name is left off. Nothing in the file is run.

    Raises:
        PrunerError: there is no such file, or no weights in it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "w.pt"
        >>> torch.save({"state_dict": {"module.bias": torch.zeros(2)}}, file)
        >>> read_weights(file)
        {'bias': tensor([0., 0.])}
    """
    if not Path(path).is_file():
        raise PrunerError(f"{path}: no such file; give a file of weights")
    try:
        if _is_ours(path):
            found: Any = load_tensors(path)[0].get("model")
        elif Path(path).suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except PrunerError:
        raise
    except Exception:  # whatever torch's reader makes of a file that is none, or that holds more
        raise PrunerError(
            f"{path}: cannot be read as weights; save the network's state_dict(), and nothing "
            "else, by safetensors or torch.save"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise PrunerError(f"{path}: holds no state_dict; save the network's state_dict() in it")
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): x for name, x in found.items()}
    return dict(found)


def _is_ours(path: Path | str) -> bool:
    """Tell whether `save_tensors` wrote the file."""
    try:
        with safe_open(path, framework="pt") as file:
            return "datapruner" in (file.metadata() or {})
    except SafetensorError:
        return False
