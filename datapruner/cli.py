"""The command line: reads words, reports errors; each command is a file of `commands`."""

import functools
import io
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import tyro

from .commands.advise import advise
from .commands.compare import compare
from .commands.convert import convert
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.embed import embed
from .commands.import_ import import_
from .commands.keep import keep
from .commands.lottery import lottery
from .commands.race import race
from .commands.report import report
from .commands.score import score
from .commands.scorers import scorers
from .commands.select import select
from .commands.sweep import sweep
from .commands.teacher import teacher
from .commands.train import train
from .errors import PrunerError, UsageError, suggest

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "score": score,
    "keep": keep,
    "select": select,
    "train": train,
    "lottery": lottery,
    "teacher": teacher,
    "race": race,
    "sweep": sweep,
    "advise": advise,
    "compare": compare,
    "import": import_,
    "report": report,
    "convert": convert,
    "embed": embed,
    "scorers": scorers,
    "doctor": doctor,
}


def main(words: list[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 error, 2 usage, 3 refused, 130 interrupted.

    With `--version` alone it prints that.

    Example:
        >>> main(["scorers", "no-such-scorer"])
        2
    """
    words = (sys.argv[1:] if words is None else words) or ["--help"]
    if words == ["--version"]:
        from . import __version__

        sys.stdout.write(f"datapruner {__version__}\n")
        return 0
    try:
        job = _read(words)
        if job is not None:
            job()
        sys.stdout.flush()
    except PrunerError as error:
        if "--debug" in words:
            raise
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        goes_on = words[0] == "score" or any(word.startswith("--out") for word in words)
        here = "from here" if goes_on and words[0] != "demo" else "from the start"
        _complain(f"interrupted; the same command goes on {here}")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on; that is no error of ours
        return 0
    except OSError as error:
        if "--debug" in words:
            raise
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return 1
    except Exception as error:
        if "--debug" in words:
            raise
        what = " ".join(str(error).split()) or "no message"
        _complain(f"a fault of datapruner: {type(error).__name__}: {what}; --debug shows where")
        return 1
    return 0


def _read(words: list[str]) -> Callable[[], None] | None:
    """Return the work that the words ask for, or None where they ask for help, which is printed.

    Raises:
        UsageError: they cannot be read; tyro's box of several lines is brought to one.
    """
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise UsageError(f"no command {words[0]!r}; {suggest(words[0], COMMANDS)}")
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            job: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: _later(command) for name, command in COMMANDS.items()},
                prog="datapruner",
                description="Find the training examples worth training on, and train on those.",
                args=words,
            )
    except SystemExit as stop:
        if not stop.code:
            return None
        command = "" if words[0].startswith("-") else f"{words[0]} "
        raise UsageError(f"{_one_line(said.getvalue())}; see datapruner {command}--help") from None
    return job


def _later(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return what reads as the command does, and gives its call instead of making it."""

    @functools.wraps(command)
    def read(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **options)

    return read


def _one_line(box: str) -> str:
    """Return the first paragraph of a box without its frame, and which option was meant."""
    parts: list[list[str]] = [[]]
    for line in (line.strip("│| ") for line in box.splitlines()):
        if line == "Got errors:" or re.search("[─-]{5}|[╭╰]", line):
            parts.append([])
        elif line:
            parts[-1].append(line)
    # where the terminal has no lines to draw with, the title is a part of its own
    title = 0 if box.startswith("╭") else 1
    filled = [part for part in parts if part] or [["these words cannot be read"]]
    said = " ".join(filled[min(title, len(filled) - 1)]).rstrip(".")
    unknown, *known = [*re.findall(r"--[a-z0-9][a-z0-9-]*", box), ""]
    known = [word for word in known if word not in ("", unknown, "--help")]
    if "Unrecognized" not in said or not known:
        return said
    return f"{said}; {suggest(unknown, dict.fromkeys(known))}"


def _complain(text: str) -> None:
    sys.stderr.write(f"datapruner: {text}\n")
