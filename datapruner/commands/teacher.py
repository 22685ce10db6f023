"""`datapruner teacher`."""

# ruff: noqa: D417 - groups of options document themselves

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..console import Console
from ..run import Run
from .options import Common, DataWord, Open, Opening, Say

if TYPE_CHECKING:
    from ..data import Data
    from ..teachers import Teacher


@dataclass(frozen=True)
class Seeing:
    """How the teacher sees the examples."""

    views: int = 0
    """Augmented views to store of each example, which students then see in turn; 0 stores the plain
    pictures, for students that train without augmentation."""
    augment: str = "auto"
    """Augmentation of the views, as of `train`: auto, none, or a list such as flip,crop=4."""
    image_size: int = 0
    """Side of the square pictures, as of `train`; 0 leaves them as they are."""
    seed: int = 0
    """Of the views; students of any seed see these."""
    batch_size: int = 512
    """Examples asked about at once."""
    workers: int = 0
    """Processes that read the data, where they are not in memory."""
    device: str = "auto"
    """Auto, cpu, cuda or cuda:N."""


See = Annotated[Seeing, tyro.conf.OmitArgPrefixes]


def teacher(
    data: DataWord,
    /,
    run: str,
    out: str,
    seeing: See = Seeing(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Ask a teacher about every example once, and keep its logits for `train --teacher OUT`.

    A student that learns from cached logits costs what one without a teacher costs. An interrupted
    pass goes on when the same command is given again.

    Args:
        data: what the teacher is asked about: what students will train on.
        run: folder of a trained run; or NETWORK@FILE, such as torchvision:resnet18@weights.pt or
            package.module:factory@weights.safetensors; several with commas between are an ensemble.
        out: folder for logits.npy and teacher.json.
    """
    settings = Run(
        batch_size=seeing.batch_size,
        augment=seeing.augment,
        image_size=seeing.image_size,
        seed=seeing.seed,
        workers=seeing.workers,
        device=seeing.device,
    )
    _teacher(data, run, out, seeing.views, settings, opening, common)


def _teacher(
    word: str, of: str, out: str, views: int, run: Run, opening: Opening, common: Common
) -> None:
    """Cache the logits, and say what they are."""
    from ..data import open_data
    from ..teacher_pass import cache_teacher
    from ..teacher_words import load_teacher

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        asked = load_teacher(of, data, run=run)
        if common.dry_run:
            cost = _cost(data, asked, views, run)
            print(json.dumps(cost) if common.json else _text(cost))
            return
        console.say(f"{data}; asking {of}")
        made = cache_teacher(
            data, asked, out, views=views, run=run, name=of, progress=console.progress
        )
    print(json.dumps({"out": out} | made.about) if common.json else _line(out, made.about))


def _cost(data: "Data", asked: "Teacher", views: int, run: Run) -> dict[str, Any]:
    """Return the rows, bytes and seconds of a pass, from the median of a few batches."""
    from ..training import make_loader

    loader = make_loader(data, run)
    rows = data.readable.nonzero().flatten()
    logits, times = asked.bind(loader), []
    began = time.perf_counter()
    for batch in loader(rows[: 5 * run.batch_size], train=views > 0):
        logits(batch)
        times.append((time.perf_counter() - began) / len(batch.index))
        began = time.perf_counter()
    examples = len(rows) * max(1, views)
    return {
        "examples": examples,
        "bytes": 2 * data.n * data.num_classes * max(1, views),
        "seconds": round(sorted(times)[len(times) // 2] * examples, 1),
    }


def _text(cost: dict[str, Any]) -> str:
    return (
        f"{cost['examples']:,} examples to ask about, {cost['bytes'] / 2**20:,.1f} MiB, about "
        f"{cost['seconds']:,.0f} s"
    )


def _line(out: str, about: dict[str, Any]) -> str:
    """Return what was cached, as one line.

    Example:
        >>> about = {"n": 10, "classes": 2, "views": 0, "teacher": "runs/full", "accuracy": 0.9}
        >>> _line("t", about)
        't: 10 x 2 logits of runs/full, of the plain pictures; it gives 90.0 % of the labels'
    """
    seen = f"of {about['views']} views each" if about["views"] else "of the plain pictures"
    return (
        f"{out}: {about['n']:,} x {about['classes']} logits of {about['teacher']}, {seen}; it "
        f"gives {100 * about['accuracy']:.1f} % of the labels"
    )
