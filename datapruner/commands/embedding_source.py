"""The embedding that `score` reads, wherever it comes from, and what the page shows of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .making import Work

if TYPE_CHECKING:
    from ..data import Data
    from ..traces import Record


RECORDED = "the recorded run"


@dataclass(frozen=True)
class Embedder:
    """Where the embedding comes from: a folder of `embed`, a network by name, or the recorded run.

    Attributes:
        encoder: a network's name.
        folder: that `embed` wrote.
    """

    encoder: str | None = None
    folder: str | None = None

    @property
    def of_the_run(self) -> bool:
        """Whether it is the recorded network's, so that one has to be recorded."""
        return self.encoder is None and self.folder is None

    def check(self, data: "Data") -> None:
        """Refuse a folder of other data, or of none, before a folder is made for scores.

        Raises:
            PrunerError: there is no finished embedding in it.
            Refused: its rows are of other data.
        """
        if self.folder is not None:
            from ..embedded import load_embedding

            load_embedding(self.folder, data)

    def before(self, work: Work, made: dict[str, Any]) -> dict[str, Any]:
        """Return the source where no run is needed for it; note in `made` what it is.

        Raises:
            Refused: the table's scores are of another embedding.
        """
        from ..embedding import embed

        if self.folder is not None:
            from ..embedded import load_embedding

            rows, about = load_embedding(self.folder, work.data)
            keys = ("encoder", "weights", "rows", "dtype", "fingerprint")
            made["embedding"] = {key: about[key] for key in keys if key in about}
            _refuse_another(work, made["embedding"])
            return {"embedding": rows}
        made["embedding"] = {"encoder": RECORDED if self.encoder is None else self.encoder}
        _refuse_another(work, made["embedding"])
        if self.encoder is None:
            return {}
        name = self.encoder.replace("/", "-").replace(":", "-")
        out = work.folder / f"embedding-{name}.npy"
        show = work.console.progress
        return {"embedding": embed(work.data, self.encoder, run=work.run, out=out, progress=show)}

    def after(self, work: Work, record: "Record") -> dict[str, Any]:
        """Return the source from the recorded network."""
        from ..embedding import embed

        out, show = work.folder / "embedding-recorded.npy", work.console.progress
        return {"embedding": embed(work.data, record, run=work.run, out=out, progress=show)}


def _refuse_another(work: Work, about: dict[str, Any]) -> None:
    """Keep scores of two embeddings out of one table, where they would bear the same names."""
    from ..errors import Refused
    from ..scores import Scores

    path = work.folder / "scores.parquet"
    if not path.exists():
        return
    held = Scores.load(path, data=work.data).meta.get("sources", {}).get("embedding")
    # the rows of `embed` say what they are; of the run's own network and an untrained one, the
    # same in all calls on this folder, the name does
    marks = [a and a.get("fingerprint", a["encoder"]) for a in (held, about)]
    if held is not None and marks[0] != marks[1]:
        raise Refused(
            f"{path}: has scores of another embedding ({held['encoder']}); give another --out"
        )


def write_neighbours(
    work: Work, rows: Any, names: Sequence[str], options: dict[str, dict[str, Any]]
) -> None:
    """Keep what the page shows of clusters and copies, where these were scored."""
    from ..files import write_json
    from ..report.neighbours import NEIGHBOURS, neighbours, read_neighbours

    found = neighbours(work.data, rows, names, options)
    if found:  # beside what an earlier call found for other scorers of the table
        write_json(work.folder / NEIGHBOURS, (read_neighbours(work.folder) or {}) | found)
