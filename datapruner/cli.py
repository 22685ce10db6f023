# ruff: noqa: D417 - groups of options document themselves
"""The commands. This module reads words and reports errors; the work is in `commands`."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from .commands.options import Common, Opening, Training, run_of, sampler_of
from .errors import PrunerError

# The groups of options, their words not prefixed with the group's name.
Train = Annotated[Training, OmitArgPrefixes]
Open = Annotated[Opening, OmitArgPrefixes]
Say = Annotated[Common, OmitArgPrefixes]
DataWord = Annotated[
    str,
    Positional,
    tyro.conf.arg(
        metavar="DATA",
        help="digits, a folder, a .parquet, .npz or .beton file, or NAME:ROOT such as cifar10:data",
    ),
]


def score(
    data: DataWord,
    /,
    scorers: tuple[str, ...] = ("el2n", "forgetting", "aum", "loss"),
    out: str | None = None,
    seeds: int = 1,
    encoder: str | None = None,
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Rank the examples of a training set: a table of scores and a page of pictures.

    Trains, or embeds, as the scorers need it, once; an interrupted run goes on when the same
    command is given again.

    Args:
        data: what to score; its training split is read.
        scorers: names, with options behind a colon, such as el2n:window=5; see `scorers`.
        out: folder for scores.parquet and report.html; default runs/NAME.
        seeds: runs to train; the table has their mean and standard error.
        encoder: network whose features `prototypes` and its kin read, such as torchvision:resnet18;
            default the one that was trained for the scores.
    """
    from .commands.score import score as work

    work(data, scorers, out, seeds, encoder, run_of(training, data=data), opening, common)


def keep(
    scores: Annotated[str, Positional, tyro.conf.arg(metavar="SCORES")],
    /,
    by: str,
    out: str,
    fraction: float | None = None,
    k: int | None = None,
    rule: str = "top",
    per_class: bool = False,
    class_floor: float = 0.0,
    calibrate: float = 0.0,
    offset: float = 0.0,
    beta: float = 0.0,
    strata: int = 50,
    seed: int = 0,
    export: str | None = None,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Choose a subset by a score: a folder that `train --keep` and `prune` take.

    Args:
        scores: scores.parquet of `score`.
        by: which score.
        out: folder for the selection.
        fraction: share of the readable examples to keep, above 0 and at most 1.
        k: how many to keep, instead of a fraction.
        rule: top, bottom, middle, window, ccs, random.
        per_class: the same share of every class.
        class_floor: least share of its proportional part that each class keeps.
        calibrate: share of what is kept that is drawn at random.
        offset: share of the highest scores to leave out first (window).
        beta: share of the hardest examples to leave out first (ccs).
        strata: slices of equal width (ccs).
        seed: of ties and draws.
        export: also write the kept indices to this .txt, .csv or .npy file.
    """
    from .commands.keep import keep as work

    work(
        scores,
        by,
        out,
        export,
        {
            "fraction": fraction,
            "k": k,
            "rule": rule,
            "per_class": per_class,
            "class_floor": class_floor,
            "calibrate": calibrate,
            "offset": offset,
            "beta": beta,
            "strata": strata,
            "seed": seed,
        },
        common,
    )


def train(
    data: DataWord,
    /,
    keep: str | None = None,
    rs2: float | None = None,
    replacement: bool = False,
    stratified: bool = False,
    out: str | None = None,
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Train on all, on a kept subset, or on a fresh random subset each epoch.

    Prints test accuracy beside the examples seen, the steps taken and the seconds.

    Args:
        data: what to train on; its test split is read after each epoch.
        keep: folder that `keep` wrote.
        rs2: share of the examples drawn anew each epoch.
        replacement: draw each epoch by itself (with --rs2).
        stratified: the same share of every class (with --rs2).
        out: folder for the network and its history; an interrupted run goes on from it.
    """
    from .commands.train import train as work

    sampler = sampler_of(keep, rs2, replacement, stratified)
    work(data, out, run_of(training, data=data, sampler=sampler), opening, common)


def demo(
    out: str = "runs/demo",
    seeds: int = 3,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Show the whole path on the digits that come with scikit-learn, in about a minute.

    Args:
        out: folder for report.html and everything behind it; done again from the start.
        seeds: runs of each arm.
    """
    from .commands.demo import demo as work

    work(out, seeds, common)


def report(
    folder: Annotated[str, Positional, tyro.conf.arg(metavar="DIR")],
    /,
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Write report.html of a folder that `score` or `demo` made, anew.

    Args:
        folder: the folder.
    """
    from .commands.report import report as work

    work(folder, opening, common)


def scorers(
    name: Annotated[str | None, Positional, tyro.conf.arg(metavar="NAME")] = None,
    /,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """List the scorers, or say what one is, what it needs and which side is high.

    Args:
        name: one of them; default all, a line each.
    """
    from .commands.scorers import scorers as work

    work(name, common)


def convert(
    data: DataWord,
    beton: Annotated[str, Positional, tyro.conf.arg(metavar="OUT.beton")],
    /,
    split: str = "train",
    mode: str = "raw",
    max_resolution: int | None = None,
    quality: int = 90,
    workers: int = 1,
    page_size: int | None = None,
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Write a data set as a .beton file, which FFCV reads at full speed.

    Args:
        data: what to convert.
        beton: file to write; one that exists is refused.
        split: train or test.
        mode: raw, jpg, or proportion (some raw, some JPEG).
        max_resolution: longest side; larger pictures are made smaller.
        quality: of JPEG, 1 to 100.
        workers: processes that write.
        page_size: bytes of a page, a power of two; default FFCV's own.
    """
    from .commands.convert import convert as work

    how = {"mode": mode, "max_resolution": max_resolution, "quality": quality}
    work(data, beton, split, how | {"workers": workers, "page_size": page_size}, opening, common)


def doctor(
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Say what is installed, what works, and what to do about the rest."""
    from .commands.doctor import doctor as work

    work(common)


COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "score": score,
    "keep": keep,
    "train": train,
    "report": report,
    "convert": convert,
    "scorers": scorers,
    "doctor": doctor,
}


def main(words: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 error, 2 usage, 3 refused, 130 interrupted.

    Example:
        >>> main(["scorers", "no-such-scorer"])
        2
    """
    words = sys.argv[1:] if words is None else words
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="datapruner",
            description="Find the training examples worth training on, and train on just those.",
            args=words or ["--help"],
        )
    except SystemExit as stop:  # tyro's: 0 after help, 2 after wrong words
        return stop.code if isinstance(stop.code, int) else 1
    except PrunerError as error:
        if "--debug" in words:
            raise
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted; the same command goes on from here")
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on; that is no error of ours
        return 0
    except OSError as error:
        if "--debug" in words:
            raise
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return 1
    return 0


def _complain(text: str) -> None:
    sys.stderr.write(f"datapruner: {text}\n")
