"""The command line: reads words, reports errors; each command is a file of `commands`."""

import errno
import functools
import inspect
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


_OUT_BY_ITSELF = ("score", "select", "lottery")  # go on from a folder without being given --out


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
        goes_on = words[0] in _OUT_BY_ITSELF or any(word.startswith("--out") for word in words)
        here = "from here" if goes_on and words[0] != "demo" else "from the start"
        _complain(f"interrupted; the same command goes on {here}")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads on; that is no error of ours
        return 0
    except OSError as error:
        if "--debug" in words:
            raise
        _complain(_of_the_system(error))
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
                {name: _later(command, words) for name, command in COMMANDS.items()},
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


def _later(command: Callable[..., Any], words: list[str]) -> Callable[..., Any]:
    """Return what reads as the command does, and gives its call instead of making it.

    Where no command is named, as for `--help`, each is told in its first sentence.
    """

    @functools.wraps(command)
    def read(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **options)

    if words[0].startswith("-"):
        read.__doc__ = (inspect.getdoc(command) or "").partition("\n\n")[0]
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
    if wrong := re.match(r"Error parsing (--[a-z0-9-]+): (.*)", said):
        return _no_value(wrong[1], wrong[2])
    if wrong := re.match(r"Missing value for argument '(--[a-z0-9-]+)'", said):
        return f"{wrong[1]} needs a value"
    if wrong := re.match(r"Missing from [^:]+: (.*\(required\))", said):
        asked = [part.split()[0] for part in wrong[1].split("(required)") if part.strip()]
        return f"Missing: {', '.join(asked)}"
    unknown, *known = [*re.findall(r"--[a-z0-9][a-z0-9-]*", box), ""]
    known = [word for word in known if word not in ("", unknown, "--help")]
    if "Unrecognized" not in said or not known:
        return said
    return f"{said}; {suggest(unknown, dict.fromkeys(known))}"


def _no_value(option: str, said: str) -> str:
    """Return in plain words what tyro says of a value that it cannot read.

    Example:
        >>> _no_value("--epochs", "invalid literal for int() with base 10: 'three'")
        "--epochs must be a whole number, not 'three'"
    """
    given = " ".join(re.findall(r"'[^']*'", said))
    found = re.search(r"no type matching (\S+)", said)
    kinds = found[1] if found else said
    if "INT" in kinds or "int()" in kinds:
        kind = "a whole number"
    elif "FLOAT" in kinds or "float" in kinds:
        kind = "a number such as 0.1" + (", or auto" if "{auto}" in kinds else "")
    else:
        return f"{option} cannot be read from {given}" if given else f"{option}: {said}"
    return f"{option} must be {kind}, not {given}"


def _of_the_system(error: OSError) -> str:
    """Return what the system refused, where, and what to do.

    Example:
        >>> _of_the_system(OSError(28, "No space left on device", ".half.host-7.partial"))
        'half: No space left on device; make room, or give another place'
    """
    where, do = str(error.filename or "the system"), _MEND.get(error.errno or 0)
    where = re.sub(r"(^|/)\.([^/]+)\.[^/.]+-\d+\.(partial|old)\b", r"\1\2", where)
    return f"{where}: {error.strerror or error}" + (f"; {do}" if do else "")


_MEND = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; give another place",
    errno.EISDIR: "give the name of a file",
    errno.EACCES: "see to its permissions, or give another place",
    errno.EPERM: "see to its permissions, or give another place",
    errno.EROFS: "give another place",
    errno.ENOSPC: "make room, or give another place",
    errno.EDQUOT: "make room, or give another place",
}


def _complain(text: str) -> None:
    sys.stderr.write(f"datapruner: {text}\n")
