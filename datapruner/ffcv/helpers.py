"""Threads that serve one epoch after another, instead of a new one for each.

FFCV starts a thread an epoch, and OpenMP then starts threads of its own for each of them. Keeping
one makes short epochs cheaper, many times so on a busy machine.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

_idle: "list[_Helper]" = []  # append and pop are atomic
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # threads do not come along


class Task:
    """Work that a helper does in the background; it must not raise."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work: Callable[[], None] | None = work
        self.over = threading.Event()
        (_idle.pop() if _idle else _Helper()).todo.put(self)

    def wait(self, seconds: float) -> bool:
        """Wait until the work is done, but no longer than that; tell whether it is."""
        return self.over.wait(seconds)


class _Helper(threading.Thread):
    """A thread that waits for tasks; a daemon, so that an epoch left open does not hinder exit."""

    def __init__(self) -> None:
        super().__init__(name="datapruner-ffcv", daemon=True)
        self.todo: SimpleQueue[Task] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            task = self.todo.get()
            work, task.work = task.work, None  # what the work belongs to may hold the task
            try:
                assert work is not None
                work()
            finally:
                del work  # it holds the buffers of an epoch
                _idle.append(self)  # before the one who waits can begin another task
                task.over.set()
                del task
