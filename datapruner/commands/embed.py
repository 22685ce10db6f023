"""`datapruner embed`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..console import Console
from ..run import Run
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of

if TYPE_CHECKING:
    from ..data import Data
    from ..encoders import Encoder


@dataclass(frozen=True)
class Unlabelled:
    """How simclr and vicreg learn; --epochs, --model, --lr and their like are as for `train`."""

    view_size: int = 0
    """Side that views are rendered at; 0 leaves it, and smaller ones train faster."""
    temperature: float = 0.5
    """Of simclr's contrast."""
    hidden: int = 256
    """Width of the projection head's first layer."""
    width: int = 0
    """Width of what is compared; 0 is 128 for simclr and 512 for vicreg."""
    rs2: float | None = None
    """Share of the pictures in an epoch, drawn anew each; there is a checkpoint after each."""
    knn: bool = True
    """Say after each epoch how well nearest neighbours tell the labels, which are read for that
    alone."""


Learn = Annotated[Unlabelled, tyro.conf.OmitArgPrefixes]


def embed(
    data: DataWord,
    /,
    encoder: str,
    out: str,
    dtype: Literal["float32", "float16"] = "float32",
    learning: Learn = Unlabelled(),  # noqa: B008 - frozen
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Embed every example once, and keep the rows for `score --embedding OUT`.

    A clean pass: no augmentation, eval mode, float32. An interrupted call goes on when it is given
    again, in the training of simclr and vicreg as in the pass, and ends in the same bytes.

    Args:
        data: what is embedded; its training split is read.
        encoder: simclr or vicreg, trained here without labels; the folder of a trained run or
            encoder; torchvision:NAME@FILE or package.module:factory@FILE, the file being its
            weights; or a .npy or .parquet file of rows that exist.
        out: folder for embedding.npy and embedding.json.
        dtype: on disk; float16 takes half the space.
    """
    if learning.rs2 is None:
        run = run_of(training, data=data)
    else:
        from ..sampler_specs import RS2Spec

        run = run_of(training, data=data, sampler=RS2Spec(learning.rs2))
    _embed(data, encoder, out, dtype, learning, run, opening, common)


def _embed(
    word: str,
    encoder: str,
    out: str,
    dtype: Literal["float32", "float16"],
    learning: Unlabelled,
    run: Run,
    opening: Opening,
    common: Common,
) -> None:
    from ..data import open_data
    from ..embedded import embed_to
    from ..given_rows import SUFFIXES, read_rows
    from ..provenance import fingerprint
    from ..selfsup import METHODS

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        if common.dry_run and encoder in METHODS:
            _say_cost(data, encoder, learning, run, common)
            return
        if Path(encoder).suffix in SUFFIXES:
            rows = read_rows(encoder, data)
            known = {"encoder": encoder, "rows": fingerprint(rows)}
            if common.dry_run:
                _print({"rows": data.n, "d": rows.shape[1]}, common)
                return
            about = embed_to(data, rows, out, about=known, dtype=dtype, progress=console.progress)
        else:
            network = _network(encoder, data, out, learning, run, common, console)
            if network is None:
                return
            about = embed_to(data, network, out, dtype=dtype, progress=console.progress)
    result = {"out": out} | about
    line = f"{out}: {about['n']:,} x {about['d']} {about['dtype']} by {encoder}"
    print(json.dumps(result) if common.json else line)


def _network(
    word: str,
    data: "Data",
    out: str,
    learning: Unlabelled,
    run: Run,
    common: Common,
    console: Console,
) -> "Encoder | None":
    """Return the encoder that the word names, trained here where it is a method's name."""
    from ..encoders import load_network
    from ..selfsup import METHODS

    if word not in METHODS:
        network = load_network(word, data, run)
        if common.dry_run:
            _print({"rows": data.n, **network.about}, common)
            return None
        console.say(f"{data}; embedding by {word}")
        return network
    _trained(word, data, Path(out), learning, run, console)
    network = load_network(str(Path(out) / "encoder"), data, run)
    network.about["encoder"] = word
    return network


def _trained(
    method: Any, data: "Data", out: Path, learning: Unlabelled, run: Run, console: Console
) -> None:
    """Train the encoder into OUT/encoder, or go on, or find it done."""
    from ..embedded import ABOUT, STATE
    from ..errors import Refused
    from ..knn_probe import knn_probe
    from ..selfsup import pretrain

    home = out / "encoder"
    ours = home.exists() or not out.exists() or not any(out.iterdir())
    if not ours or (not home.exists() and any((out / name).exists() for name in (ABOUT, STATE))):
        raise Refused(f"{out}: holds something else than a {method} embedding; give another --out")
    console.say(f"{data}; training {run.model} by {method}, which sees no label")
    probe = knn_probe(data, console.say, out / "encoder" / "knn.json")
    observers = [probe] if learning.knn and data.num_classes > 1 else []
    spec = _spec(method, learning)
    pretrain(data, spec, run=run, out=home, observers=observers, progress=console.progress)


def _spec(method: Any, learning: Unlabelled) -> Any:
    from ..selfsup import SelfSup

    return SelfSup(
        method, learning.hidden, learning.width, learning.temperature, learning.view_size
    )


def _say_cost(data: "Data", method: str, learning: Unlabelled, run: Run, common: Common) -> None:
    """Print the steps that training would take; a wrong setting is refused as it would be."""
    from ..selfsup import begun, blind
    from ..step_count import steps
    from ..training import make_sampler

    begun(data, _spec(method, learning), run)
    sampler, _ = make_sampler(run, blind(data))
    total = run.steps or steps(
        sampler, data.n, epochs=run.epochs, batch_size=run.batch_size, readable=data.readable
    )
    _print({"rows": data.n, "steps": total, "views": 2 * run.batch_size * total}, common)


def _print(cost: dict[str, Any], common: Common) -> None:
    if common.json:
        print(json.dumps(cost))
    else:
        print(", ".join(f"{name} {value}" for name, value in cost.items()))
