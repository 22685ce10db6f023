"""Several processes that work through the points of a sweep side by side."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .errors import PrunerError
from .grid import Grid
from .sweep_shared import Site
from .sweeping import Shard, counted_control, planned_points, tabulate, trackers_of, work


def in_processes(site: Site, grid: Grid, shard: Shard, jobs: int, track: Sequence[str]) -> None:
    """Start processes that work through the points, and wait for them.

    They end with this one, however it ends: each waits for the end of its standard input, which the
    system closes. Else those of a killed sweep would hold points that the next call then leaves.

    Raises:
        PrunerError: one of them ended early.
    """
    import torch

    threads = max(1, torch.get_num_threads() // jobs)
    told = {
        "grid": grid.plain(),
        "out": str(site.out),
        "shard": [shard.i, shard.n],
        "track": list(track),
        "threads": threads,
        "call": site.call,
    }
    words = [sys.executable, "-c", "from datapruner.sweep_processes import worker; worker()"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(jobs):
            process = subprocess.Popen(
                [*words, json.dumps(told)], env=environment, stdin=subprocess.PIPE
            )
            started.append(process)
        codes = [process.wait() for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
        for process in started:
            with suppress(KeyboardInterrupt):
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
    if any(codes):
        raise PrunerError(
            f"{sum(code != 0 for code in codes)} of {jobs} processes ended early; the same "
            "command goes on from here"
        )


def worker() -> None:
    """Work through the points of a sweep as one of several processes; told by argv."""
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    out, grid = Path(told["out"]), Grid.from_dict(told["grid"])
    site = Site(grid, out, call=told["call"])
    plan = planned_points(site, grid)
    mine = plan[told["shard"][0] :: told["shard"][1]]

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    try:
        trackers = trackers_of(told["track"], out)
        work(
            site,
            mine,
            trackers,
            say,
            told["call"],
            lambda point: counted_control(site, grid, point),
            lambda: tabulate(site, grid, plan),
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except PrunerError as error:
        say(f"datapruner: {error}")
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the other end is closed
    os._exit(1)
