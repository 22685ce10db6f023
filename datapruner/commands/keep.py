"""`datapruner keep`."""

import json
from pathlib import Path
from typing import Any

from ..errors import PrunerError, UsageError, suggest
from .options import Common


def keep(
    scores: str, by: str, out: str, export: str | None, how: dict[str, Any], common: Common
) -> None:
    """Choose by a score of a table, and write the folder."""
    from ..scores import Scores
    from ..selection import keep as choose

    path = Path(scores)
    if path.is_dir():
        path = path / "scores.parquet"
    if not path.exists():
        raise PrunerError(f"{path}: no such file; make it with: datapruner score DATA --out DIR")
    table = Scores.load(path)
    if by not in table:
        raise UsageError(f"{path} has no score {by!r}; {suggest(by, table)}")
    readable = ~table.flags["unreadable"] if "unreadable" in table.flags else None
    about = {"fingerprint": table.meta.get("fingerprint"), "score": by, "scores": path.name}
    kept = choose(table[by], labels=table.labels, readable=readable, about=about, **how)
    if common.dry_run:
        print(f"would keep {len(kept):,} of {kept.n:,} by {by} in {out}")
        return
    kept.save(out)
    if export is not None:
        kept.export(export)
    if common.json:
        print(json.dumps({"folder": out, "kept": len(kept), "n": kept.n, **kept.meta}))
        return
    print(f"kept {len(kept):,} of {kept.n:,} examples by {by}, rule {how['rule']}: {out}")
