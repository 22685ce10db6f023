"""`datapruner import`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .options import Common, DataWord, Open, Opening, Say


def import_(
    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    data: DataWord,
    /,
    name: str,
    high: Literal["hard", "easy"],
    out: str,
    order: Literal["data", "class", "index"] | None = None,
    column: str | None = None,
    labels: str | None = None,
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Take over published scores of the same data: a table that keep, compare and report read.

    Where the file carries labels, they must be those of the data in the order given; where it
    carries none, the order has to be given. The sign is compared with a rough difficulty of the
    examples, and a contradiction is said.

    Args:
        file: .npy, .npz, .csv or .tsv.
        data: what the scores are of; the training split.
        name: what to call the score.
        high: what a high value means in the file; easy ones are turned, so that high is kept first.
        out: folder for scores.parquet; a table that is there gets one more column.
        order: data where row i is example i, class where rows are sorted by class, index where a
            column says which example a row is of; default what labels or indices in the file prove.
        column: which column or array is the score, where there are several.
        labels: which one has the labels, where it is not called so.
    """
    from ..console import Console
    from ..data import open_data
    from ..published import hardness_hint, import_scores
    from ..scores import Scores

    with Console() as console:
        opened = open_data(data, "train", download=opening.download, strict=opening.strict)
        table = import_scores(
            file, opened, name=name, high=high, order=order, column=column, labels=labels
        )
        hint = hardness_hint(table[name], opened)
        if hint is not None and hint < 0:
            console.say(
                f"careful: examples that lie nearer another class's mean score lower here (rank "
                f"correlation {hint:.3f}); is high really {high} in {file}?"
            )
    made = table.meta["scores"][name]
    target = Path(out) / "scores.parquet"
    if common.dry_run:
        would = {"table": str(target), "score": name, "n": table.n, "hint": hint, **made}
        text = f"would put {name} of {table.n:,} examples, order {made['order']}, into {target}"
        print(json.dumps(would) if common.json else text)
        return
    if target.exists():
        table = Scores.load(target, data=opened).merge(table)
    table.save(target)
    if common.json:
        print(json.dumps({"table": str(target), "score": name, "hint": hint, **made}))
        return
    proof = "labels agree" if made["order_checked_by_labels"] else "not checked: no labels in it"
    print(f"{name}: {table.n:,} scores, order {made['order']} ({proof}): {target}")
