"""`datapruner score`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..errors import PrunerError, UsageError
from ..run import Run
from .embedding_source import Embedder, write_neighbours
from .making import (
    OF_A_RUN,
    Further,
    More,
    Work,
    of_a_run,
    of_the_data,
    refuse_without_runs,
)
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of
from .specs import TRACED, needs, read_specs
from .trial import refuse_unfit

if TYPE_CHECKING:
    from ..scores import Scores
    from ..traces import Record


def score(
    data: DataWord,
    /,
    scorers: tuple[str, ...] = ("el2n", "forgetting", "aum", "loss"),
    out: str | None = None,
    seeds: int = 1,
    encoder: str | None = None,
    embedding: str | None = None,
    more: More = Further(),  # noqa: B008 - frozen
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Rank the examples of a training set: a table of scores and a page of pictures.

    Trains, embeds and takes gradients as the scorers need it, once; an interrupted run goes on when
    the same command is given again, and other --scorers join the table that is there. A small
    --model can score for a large one that is trained later: proxy scoring.

    Args:
        data: what to score; its training split is read.
        scorers: names, with options behind a colon, such as loss:window=5; see `scorers`.
        out: folder for scores.parquet and report.html; default runs/NAME.
        seeds: runs to train; the table has their mean and standard error.
        encoder: untrained network whose features `prototypes` and its kin read, a baseline such as
            torchvision:resnet18; for one with weights `embed` first, and give --embedding;
            default the one that was trained for the scores.
        embedding: folder that `embed` wrote, to be read instead.
    """
    run = run_of(training, data=data)
    if encoder is not None and embedding is not None:
        raise UsageError("--encoder and --embedding exclude each other; give one of them")
    _score(data, scorers, out, seeds, Embedder(encoder, embedding), more, run, opening, common)


def _score(
    word: str,
    scorers: Sequence[str],
    out: str | None,
    seeds: int,
    embedder: Embedder,
    more: Further,
    run: Run,
    opening: Opening,
    common: Common,
) -> None:
    """Train once a seed, score, write table and page; go on where an earlier call stopped."""
    names, options = read_specs(scorers)
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    refuse_without_runs(needs(names), more)
    from ..claiming import claim, unclaim
    from ..data import open_data
    from .estimate import estimate, text
    from .report import write_page

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        embedder.check(data)
        unreadable = int((~data.readable).sum())
        console.say(
            f"{data}" + (f"; {unreadable:,} do not decode and are left out" if unreadable else "")
        )
        if common.dry_run:
            cost = estimate(run, data, recording=True)
            recorded = seeds if _records(needs(names), embedder) else 0
            runs = recorded + 0.7 * more.ensemble + 2 * more.suspects + ("rho_loss" in names)
            cost = {"runs": round(runs, 1)} | cost | {"seconds": round(runs * cost["seconds"], 1)}
            print(json.dumps(cost) if common.json else text(cost))
            return
        folder = Path(out or f"runs/{data.name}")
        work = Work(data, run, folder, more, opening, console)
        refuse_unfit(work, names, options)
        run_id = run.id(data=data.fingerprint)
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        fresh = not (folder / "run.json").exists()
        claim(folder, "score", run_id, run, {"data": data.fingerprint})
        with alone(folder, console):
            try:
                table = _table(work, names, options, seeds, embedder)
            except PrunerError:
                if fresh:
                    unclaim(folder, made)
                raise
            if more.suspects:
                _flag_suspects(table, work)
            table = _beside_earlier(table, work)
            table.save(folder / "scores.parquet")
            page = write_page(str(folder), opening, data=data)
    _show(table, folder, page, common)


@contextmanager
def alone(folder: Path, console: Console) -> Iterator[None]:
    """Keep a folder of `score` to this process inside the block; wait for one that has it."""
    from ..sharing import locked

    mark = folder / "run.json"
    if not mark.exists():
        yield
        return
    with locked(mark, wait=False) as free:
        if free:
            yield
            return
    console.say(f"{folder}: another process works in it; waiting until it is done")
    with locked(mark):
        yield


def _table(
    work: Work,
    names: list[str],
    options: dict[str, dict[str, Any]],
    seeds: int,
    embedder: Embedder,
) -> "Scores":
    """Make the sources that the scorers read, then score."""
    from ..scores import score as make_scores

    data, run = work.data, work.run
    sources = needs(names)
    made: dict[str, Any] = {}
    records = []
    extra: dict[str, Any] = {}
    if "embedding" in sources:  # before the training: a name may be wrong
        extra |= embedder.before(work, made)
    if _records(sources, embedder):
        for i in range(seeds):
            part = f"seed {run.seed + i}, " if seeds > 1 else ""
            records.append(_recorded(work, i, "vog" in names, part))
            made |= of_a_run(work, records[-1], sources, part)
    if "embedding" in sources and "embedding" not in extra:
        extra |= embedder.after(work, records[0])
    rows = extra.get("embedding")
    extra |= of_the_data(work, sources)
    source: Any = records
    if not records:
        source, extra = {"labels": data.labels, "n": data.n, "seed": run.seed, **extra}, {}
    options = _known(work, names, options)
    table = make_scores(source, names, options=options, extra=extra, data=data)
    table.meta["sources"] = made
    if rows is not None:
        write_neighbours(work, rows, names, options)
    return table


def _records(sources: set[str], embedder: Embedder) -> bool:
    """Tell whether a training run has to be recorded for these sources."""
    of_the_run = TRACED | OF_A_RUN.keys() | ({"embedding"} if embedder.of_the_run else set())
    return bool(sources & of_the_run)


def _recorded(work: Work, i: int, swept: bool, part: str) -> "Record":
    """Train and record the run of one seed; with `swept`, keep the weights that vog compares."""
    from dataclasses import replace

    from ..recording import record

    one = replace(work.run, seed=work.run.seed + i)
    path = work.folder / "record" / f"seed-{one.seed}"
    checkpoints = work.checkpoints if swept else ()
    show = work.console.within(part)
    return record(work.data, one, path, checkpoints=checkpoints, progress=show)


def _known(
    work: Work, names: list[str], options: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Add the options that the data and the network decide, unless they were given."""
    known: dict[str, dict[str, Any]] = {}
    if "prototypes" in names:  # the paper's choice where the number of classes is known
        known["prototypes"] = {"k": work.data.num_classes}
    if "grand_last_layer" in names:
        from ..heads import classifier
        from ..training import make_loader, network

        model = network(work.run, work.data, make_loader(work.data, work.run))
        known["grand_last_layer"] = {"bias": classifier(model).bias is not None}
    return options | {name: own | options.get(name, {}) for name, own in known.items()}


def _beside_earlier(table: "Scores", work: Work) -> "Scores":
    """Keep what the folder's table has besides, of this data and this training."""
    from ..scores import Scores

    path = work.folder / "scores.parquet"
    if not path.exists():
        return table
    earlier = Scores.load(path, data=work.data)
    both = earlier.merge(table)
    both.meta["sources"] = earlier.meta.get("sources", {}) | table.meta["sources"]
    return both


def _flag_suspects(table: "Scores", work: Work) -> None:
    """Put into the table which labels are probably wrong, and what they would be."""
    from ..noise import find_suspects

    show = work.console.within("suspects, ")
    found = find_suspects(work.data, work.run, work.folder / "suspects", progress=show)
    table.flags["suspect_label"] = found.flag.numpy()
    table.suggested = found.suggested.numpy()
    table.meta["suspects"] = {
        "method": "AUM of a threshold class, two runs, constant learning rate",
        "percentile": 99.0,
        "thresholds": list(found.thresholds),
        "share": found.share,
        "epochs": work.run.epochs,
    }
    work.console.say(
        f"{int(found.flag.sum()):,} labels are suspect ({100 * found.share:.1f} %); "
        "`keep --rule ccs --beta auto` cuts as many"
    )


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
