"""`datapruner score`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..errors import UsageError
from ..run import Run
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of
from .specs import needs, read_specs

if TYPE_CHECKING:
    from ..data import Data
    from ..scores import Scores

TRACED = {"loss", "margin", "error_norm", "entropy", "shift"}


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
    _score(data, scorers, out, seeds, encoder, run_of(training, data=data), opening, common)


def _score(
    word: str,
    scorers: Sequence[str],
    out: str | None,
    seeds: int,
    encoder: str | None,
    run: Run,
    opening: Opening,
    common: Common,
) -> None:
    """Train once a seed, score, write table and page; go on where an earlier call stopped."""
    names, options = read_specs(scorers)
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    from ..data import open_data
    from ..training import claim
    from .estimate import estimate, text
    from .report import write_page

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        unreadable = int((~data.readable).sum())
        console.say(
            f"{data}" + (f"; {unreadable:,} do not decode and are left out" if unreadable else "")
        )
        if common.dry_run:
            cost = estimate(run, data, recording=True)
            cost["seconds"] *= seeds
            print(json.dumps(cost) if common.json else text(cost))
            return
        folder = Path(out or f"runs/{data.name}")
        run_id = run.id(data=data.fingerprint)
        claim(folder, "score", run_id, run, {"data": data.fingerprint})
        table = _table(data, run, folder, names, options, seeds, encoder, console)
        table.save(folder / "scores.parquet")
        page = write_page(str(folder), opening, data=data)
    _show(table, folder, page, common)


def _table(
    data: "Data",
    run: Run,
    folder: Path,
    names: list[str],
    options: dict[str, dict[str, Any]],
    seeds: int,
    encoder: str | None,
    console: Console,
) -> "Scores":
    """Make the sources that the scorers read, then score."""
    from ..embedding import embed
    from ..recording import record
    from ..scores import score as make_scores

    if "prototypes" in names:  # the paper's choice where the number of classes is known
        options = {
            **options,
            "prototypes": {"k": data.num_classes, **options.get("prototypes", {})},
        }
    sources = needs(names)
    source: Any = {}
    extra: dict[str, Any] = {}
    records = []
    if sources & TRACED or ("embedding" in sources and encoder is None):
        for i in range(seeds):
            part = f"seed {run.seed + i}, " if seeds > 1 else ""
            records.append(_recorded(record, data, run, folder, i, console.within(part)))
        source = records
    if "embedding" in sources:
        path = (
            folder / f"embedding-{(encoder or 'recorded').replace('/', '-').replace(':', '-')}.npy"
        )
        extra["embedding"] = embed(
            data, encoder or records[0], run=run, out=path, progress=console.progress
        )
    if not records:
        source = {"labels": data.labels, "n": data.n, "seed": run.seed, **extra}
        extra = {}
    return make_scores(source, names, options=options, extra=extra, data=data)


def _recorded(record: Any, data: "Data", run: Run, folder: Path, i: int, progress: Any) -> Any:
    from dataclasses import replace

    one = replace(run, seed=run.seed + i)
    return record(data, one, folder / "record" / f"seed-{one.seed}", progress=progress)


def _show(table: "Scores", folder: Path, page: Path, common: Common) -> None:
    import numpy as np

    rows = []
    for name, values in table.items():
        finite = values[np.isfinite(values)]
        quantiles = np.quantile(finite, [0.0, 0.5, 1.0]).tolist() if len(finite) else [0.0] * 3
        rows.append(
            {"score": name, **dict(zip(("least", "median", "greatest"), quantiles, strict=True))}
        )
    if common.json:
        print(
            json.dumps(
                {"table": str(folder / "scores.parquet"), "report": str(page), "scores": rows}
            )
        )
        return
    width = max(len(r["score"]) for r in rows)
    print(f"{'score':{width}}  {'least':>10}  {'median':>10}  {'greatest':>10}")
    for r in rows:
        print(
            f"{r['score']:{width}}  {r['least']:10.4g}  {r['median']:10.4g}  {r['greatest']:10.4g}"
        )
    print(f"table:  {folder / 'scores.parquet'}\nreport: {page}")
