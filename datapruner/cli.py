"""The command line: reads words, reports errors; each command is a file of `commands`."""

import sys
from collections.abc import Callable
from typing import Any

import tyro

from .commands.compare import compare
from .commands.convert import convert
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.import_ import import_
from .commands.keep import keep
from .commands.race import race
from .commands.report import report
from .commands.score import score
from .commands.scorers import scorers
from .commands.train import train
from .errors import PrunerError

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "score": score,
    "keep": keep,
    "train": train,
    "race": race,
    "compare": compare,
    "import": import_,
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
    except Exception as error:
        if "--debug" in words:
            raise
        what = " ".join(str(error).split()) or "no message"
        _complain(f"a fault of datapruner: {type(error).__name__}: {what}; --debug shows where")
        return 1
    return 0


def _complain(text: str) -> None:
    sys.stderr.write(f"datapruner: {text}\n")
