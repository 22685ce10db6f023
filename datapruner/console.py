"""What a command says while it works: a bar on a terminal, plain lines elsewhere, on stderr."""

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


class Console:
    """Shows progress, a line at a time or as a bar; results do not go here but to stdout.

    Elsewhere than on a terminal progress gives a line every `every` seconds and no more.

    Args:
        stream: where to write.
        every: seconds between lines of progress.

    Example:
        >>> import io
        >>> stream = io.StringIO()
        >>> with Console(stream, every=0) as console:
        ...     console.say("scoring")
        ...     console.progress("epoch 1", 2, 2)
        >>> stream.getvalue().splitlines()
        ['scoring', 'epoch 1: 2 of 2 (100 %)']
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = 10.0) -> None:
        self.stream, self.every = stream or sys.stderr, every
        self._rich = RichConsole(file=self.stream, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._text = ""
        self._last = time.monotonic()

    def __enter__(self) -> "Console":
        if self._rich.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(
                *columns, TimeRemainingColumn(), console=self._rich, transient=True
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Write one line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()

    def progress(self, text: str, done: int, total: int) -> None:
        """Show how far a piece of work is; the text names it."""
        if self._bar is not None:
            if self._task is not None and text != self._text:
                self._bar.remove_task(self._task)
                self._task = None
            if self._task is None:
                self._task, self._text = self._bar.add_task(text, total=total), text
            self._bar.update(self._task, completed=done, total=total)
            return
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            self.say(f"{text}: {done:,} of {total:,} ({100 * done // max(total, 1)} %)")

    def within(self, prefix: str) -> "Prefixed":
        """Return a progress function whose texts begin with `prefix`."""
        return Prefixed(self, prefix)


class Prefixed:
    """A progress function that says what the work is part of."""

    def __init__(self, console: Console, prefix: str) -> None:
        self.console, self.prefix = console, prefix

    def __call__(self, text: str, done: int, total: int) -> None:
        """Show progress under the prefix."""
        self.console.progress(f"{self.prefix}{text}", done, total)
