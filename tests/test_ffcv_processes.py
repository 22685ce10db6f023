import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ffcv_files import small_beton

pytestmark = pytest.mark.ffcv

WORK = """
import json, sys
import torch.distributed as dist
beton, meeting, rank, out = sys.argv[1:]
dist.init_process_group("gloo", init_method="file://" + meeting, rank=int(rank), world_size=2)
from datapruner import RS2, Fixed, prune
from datapruner.ffcv import prune_ffcv
from datapruner.ffcv.installed import require
require()
from ffcv.fields.basics import IntDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import ToTensor
given = {}
for order in ("RANDOM", "SEQUENTIAL", "QUASI_RANDOM"):
    ours = order == "QUASI_RANDOM"  # FFCV does not build it with distributed=True
    loader = Loader(
        beton, batch_size=32, num_workers=1, os_cache=not ours, order=OrderOption[order], seed=0,
        distributed=not ours, drop_last=False,
        pipelines={"image": None, "label": None, "index": [IntDecoder(), ToTensor()]},
    )
    for ragged in (False, True):
        share = {"rank": int(rank), "world": 2} if ours else {}
        pruned = prune_ffcv(loader, Fixed(list(range(0, 2001, 2)), seed=1), ragged=ragged, **share)
        epochs = []
        for _ in range(2):
            rows = [i for (index,) in pruned for i in index.flatten().tolist()]
            assert len(pruned) == -(-len(rows) // 32)
            epochs.append(rows)
        given[f"{order} {ragged}"] = epochs
with open(out, "w") as file:
    json.dump(given, file)
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_take_equal_disjoint_shares(tmp_path: Path) -> None:
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(small_beton()), str(tmp_path / "meet"),
             str(rank), str(out)],
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank, out in enumerate(outs)
    ]  # fmt: skip
    for process in running:
        error = process.communicate(timeout=240)[1]
        assert process.returncode == 0, error.decode()[-2000:]
    ranks = [json.loads(out.read_text()) for out in outs]
    drawn = list(range(0, 2001, 2))  # 1,001 rows: one more than two processes can share evenly
    for name in ranks[0]:
        ragged = name.endswith("True")
        for one, two in zip(ranks[0][name], ranks[1][name], strict=True):
            assert not set(one) & set(two)
            assert (len(one), len(two)) == ((501, 500) if ragged else (500, 500))
            assert set(one) | set(two) <= set(drawn)
            if ragged:
                assert sorted(one + two) == drawn
            if "SEQUENTIAL" in name:
                assert one == sorted(one)
            else:
                assert one != sorted(one)
        if "RANDOM" in name:
            assert ranks[0][name][0] != ranks[0][name][1]  # a new order each epoch


SPAWNED = """
import sys
import multiprocessing
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    import datapruner as dp
    print(dp.write_beton(dp.open_data("digits"), sys.argv[1], workers=1).n)
"""


def test_writing_works_where_processes_are_spawned(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "d.beton")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["1438"], done.stderr[-2000:]
