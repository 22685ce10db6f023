"""Ensembles: many runs on random subsets, who trained on what and who was right on what."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .batching import rows_in
from .checkpoint import load_tensors, load_weights, save_tensors
from .errors import Refused, UsageError
from .evaluation import predict
from .hooks import Progress
from .loaders import Loader
from .run import Run
from .seeds import generator
from .subsets import train_on
from .trained import saved_run
from .training import make_loader, make_sampler, network

if TYPE_CHECKING:
    from .data import Data

BLOCK = 10  # runs over which every example is left out equally often


class Pool(NamedTuple):
    """What memorization, influence and ddd are computed from.

    Attributes:
        member: (runs, n) bool, whether the run trained on the example.
        correct: (runs, n) bool, whether the trained network was right on it, in a clean pass.
        test_correct: (runs, m) bool, the same of a test set; None without one.

    Example:
        >>> pool = Pool(torch.tensor([[True], [False]]), torch.tensor([[True], [False]]))
        >>> [side.tolist() for side in pool.counts]
        [[1], [1]]
    """

    member: Tensor
    correct: Tensor
    test_correct: Tensor | None = None

    @property
    def counts(self) -> tuple[Tensor, Tensor]:
        """How many runs trained on each example (n,), and how many did not (n,)."""
        inside = self.member.sum(0)
        return inside, len(self.member) - inside

    @property
    def sources(self) -> dict[str, Tensor]:
        """What `score` takes as `extra`."""
        named = {"member": self.member, "correct": self.correct}
        return named if self.test_correct is None else {**named, "test_correct": self.test_correct}


def ensemble(
    data: "Data",
    run: Run,
    path: Path | str,
    *,
    runs: int = 100,
    share: float = 0.7,
    test: "Data | None" = None,
    progress: Progress | None = None,
) -> Pool:
    """Train many networks, each on a random subset, and ask each about every example.

    The experiment of Feldman and Zhang (2020), with one difference: of every ten runs each example
    is left out of the same number, drawn for each example by itself, so that no example is in all
    runs or in none, and few runs go further. A subset's size is therefore `share` only on average.
    With R runs at 0.7 each side of a difference has a standard error of up to 0.5 / sqrt(0.3 R):
    0.09 at R = 100, 0.02 at R = 2,000, which is what the paper took.

    Memory: two bytes an example and run on disk, a row at a time; the weights of one network.

    Args:
        data: the training set.
        run: network and training settings; run r has seed run.seed + r.
        path: folder, which holds a file a run; a killed call goes on, more runs add to it.
        runs: how many.
        share: of the examples that a run trains on, in steps of a tenth.
        test: asked as well, for `influence`. It is only read: influence describes the test set, do
            not choose by it what you then report on it.
        progress: called as progress(text, runs done, runs in all).

    Raises:
        UsageError: a share that is no number of tenths, or no runs.
        Refused: the folder holds runs of other data or settings.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, run = dp.open_data("digits"), dp.Run(model="mlp", epochs=1)
        >>> pool = ensemble(data, run, tempfile.mkdtemp(), runs=2)
        >>> pool.member.shape
        torch.Size([2, 1438])
    """
    out = round(BLOCK * (1 - share))
    if abs(BLOCK * (1 - share) - out) > 1e-9 or not 0 < out < BLOCK:
        raise UsageError(f"share must be 0.1, 0.2, ... or 0.9, not {share}")
    if runs < 1:
        raise UsageError(f"runs must be 1 or more, not {runs}")
    home, files = Path(path), []
    for r in range(runs):
        one = replace(run, seed=run.seed + r)
        member = ~_left_out(data, run.seed, r, out) & data.readable
        file = home / f"run-{r}.safetensors"
        facts = {"run": one.id(data=data.fingerprint), "share": share}
        facts["test"] = "" if test is None else test.fingerprint
        if not _is_there(file, facts):
            model = train_on(data, member.nonzero().flatten(), one, home / f"run-{r}")
            save_tensors(file, {"pool": _asked(model, member, data, one, test)}, facts)
            shutil.rmtree(home / f"run-{r}")  # its answers are written
        files.append(file)
        if progress is not None:
            progress("ensemble", r + 1, runs)
    names = Pool._fields if test is not None else Pool._fields[:2]
    answers = (load_tensors(file)[0]["pool"] for file in files)
    return _gathered(home, ({name: row[name] for name in names} for row in answers), runs)


def pool_of(
    data: "Data",
    folders: Sequence[Path | str],
    path: Path | str,
    *,
    test: "Data | None" = None,
    progress: Progress | None = None,
) -> Pool:
    """Ask networks that are there already: any runs that `train` or `record` saved.

    Runs on a kept subset say what they trained on; RS2 runs trained on what any of their epochs
    drew, which is drawn again here from the seed; other runs on everything.

    Args:
        data: what they were trained on.
        folders: of the runs, each with its model.safetensors.
        path: folder for the pool's two or three arrays.
        test: asked as well, for `influence`.
        progress: called as progress(text, runs done, runs in all).

    Raises:
        UsageError: a folder holds no run.
        Refused: a run is of other data.

    Example:
        >>> import tempfile, datapruner as dp
        >>> home, data = Path(tempfile.mkdtemp()), dp.open_data("digits")
        >>> run = dp.Run(model="mlp", epochs=1)
        >>> _ = dp.train(run, data, out=home / "a")
        >>> pool_of(data, [home / "a"], home / "pool").counts[1].max().item()
        0
    """
    if not folders:
        raise UsageError("there is no run to ask; name the folders of some")

    def rows() -> Iterable[dict[str, Tensor]]:
        for done, folder in enumerate(map(Path, folders), 1):
            run = saved_run(folder, data)
            loader = make_loader(data, run)
            model = network(run, data, loader)
            path = folder / "model.safetensors"
            load_weights(model, load_tensors(path)[0]["model"], path)
            yield _asked(model, trained_on(run, data), data, run, test)
            if progress is not None:
                progress("asking", done, len(folders))

    return _gathered(Path(path), rows(), len(folders))


def trained_on(run: Run, data: "Data") -> Tensor:
    """Return (n,) bool: the examples that a run drew in any of its epochs.

    Example:
        >>> import datapruner as dp
        >>> run = dp.Run.from_dict({"epochs": 2, "sampler": {"fraction": 0.1}})
        >>> int(trained_on(run, dp.open_data("digits")).sum())
        288
    """
    sampler, _ = make_sampler(run, data)
    bound = sampler.bind(data.n, data.labels, data.readable)
    seen = torch.zeros(data.n, dtype=torch.bool)
    left, epoch = run.steps, 0
    while left > 0 if run.steps else epoch < run.epochs:
        order = bound.draw(epoch)[0]
        rows = rows_in(left, len(order), run.batch_size) if run.steps else len(order)
        seen[order[:rows]] = True
        left -= -(-len(order) // run.batch_size)
        epoch += 1
    return seen


def _left_out(data: "Data", seed: int, r: int, out: int) -> Tensor:
    """Return (n,) bool; over the ten runs of a block each example is left out `out` times."""
    block = torch.rand((data.n, BLOCK), generator=generator(seed, "ensemble", r // BLOCK))
    return block.argsort(1)[:, :out].eq(r % BLOCK).any(1)


def _asked(
    model: nn.Module, member: Tensor, data: "Data", run: Run, test: "Data | None"
) -> dict[str, Tensor]:
    loader = make_loader(data, run)
    answers = {"member": member, "correct": _correct(model, loader, data.n, run)}
    if test is not None:
        tester = make_loader(test, run, like=loader)
        answers["test_correct"] = _correct(model, tester, test.n, run)
    return answers


def _correct(model: nn.Module, loader: Loader, n: int, run: Run) -> Tensor:
    right = torch.zeros(n, dtype=torch.bool)
    for batch, logits in predict(model, loader, device=run.device, precision="float32"):
        right[batch.index] = logits.argmax(1).cpu() == batch.y
    return right


def _is_there(file: Path, facts: dict[str, object]) -> bool:
    if not file.exists():
        return False
    held = load_tensors(file)[1]
    if not facts["test"]:
        held["test"] = ""  # it was asked about a test set as well, which does not matter
    if held != facts:
        raise Refused(
            f"{file}: is of another run, or was not asked about this test set ({held}, this is "
            f"{facts}); use another folder, or remove this one to train again"
        )
    return True


def _gathered(home: Path, rows: Iterable[dict[str, Tensor]], runs: int) -> Pool:
    """Write the answers as arrays, a row at a time, and map them."""
    maps: dict[str, np.ndarray] = {}
    temporary: dict[str, Path] = {}
    home.mkdir(parents=True, exist_ok=True)
    for r, row in enumerate(rows):
        for name, values in row.items():
            if r == 0:
                temporary[name] = home / f".{name}.partial"
                maps[name] = np.lib.format.open_memmap(
                    temporary[name], "w+", np.bool_, (runs, len(values))
                )
            maps[name][r] = values.numpy()
    arrays = {}
    for name, rows_of in maps.items():
        rows_of.flush()  # type: ignore[attr-defined] # a memory map
        temporary[name].replace(home / f"{name}.npy")
        arrays[name] = torch.from_numpy(np.load(home / f"{name}.npy", mmap_mode="c"))
    return Pool(**arrays)
