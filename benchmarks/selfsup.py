"""An encoder that never saw a label, its prototypes, and what training on their ends gives.

    python benchmarks/selfsup.py --part encoder
    python benchmarks/selfsup.py --part neighbours
    python benchmarks/selfsup.py --part accuracy --only far-0.8 near-0.8 random-0.8

SimCLR on the CIFAR-10 copy, views of 24 pixels, a small network with early strides, one thread;
nearest-neighbour accuracy on test pictures against raw pixels and the untrained encoder; distance
to the prototypes; and resnet8 trained on the far side, the near side and a random part, all for as
many steps. Each part, run and epoch is kept where it ends, so that a command may be stopped and
given again. Every part writes benchmarks/selfsup.json and selfsup.md anew.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.embedded import embed_to, load_embedding
from datapruner.encoders import Encoder, load_network
from datapruner.knn import knn_accuracy
from datapruner.knn_probe import knn_probe
from datapruner.sampler_specs import KeepSpec, RS2Spec
from datapruner.selfsup import SelfSup
from datapruner.training import train

HERE = Path(__file__).parent
METHOD = SelfSup("simclr", temperature=0.2, size=24)
PRETRAIN = dp.Run(
    model="selfsup_net:early",
    sampler=RS2Spec(0.1),  # short epochs: a checkpoint and a kNN accuracy every tenth of a pass
    epochs=160,
    batch_size=128,
    lr=0.15,
    weight_decay=1e-4,
    warmup=0.03,
)
ASKED = 2_000  # test pictures whose neighbours vote
FRACTIONS = (0.8, 0.5, 0.3)
SIDES = {"far": "top", "near": "bottom", "random": "random"}
ARMS = ("all", *(f"{side}-{fraction}" for fraction in FRACTIONS for side in SIDES))


def part_encoder(data: dp.Data, out: Path, epochs: int) -> dict:
    """Train the encoder, or go on, or read it."""
    probe = knn_probe(data, lambda line: print(line, flush=True), out / "knn.json")
    run = replace(PRETRAIN, epochs=epochs)
    _, history = dp.pretrain(data, METHOD, run=run, out=out / "encoder", observers=[probe])
    last = history.epochs[-1]
    figures = json.loads((out / "knn.json").read_text())
    known = {"steps": last.steps, "views": 2 * last.examples, "seconds": round(last.seconds)}
    return {"encoder": known | {"probe": figures}}


def rows_of(encoder: Encoder, data: dp.Data, out: Path) -> torch.Tensor:
    embed_to(data, encoder, out)
    return torch.from_numpy(np.array(load_embedding(out, data)[0]))


def part_neighbours(data: dp.Data, test: dp.Data, out: Path) -> dict:
    """Embed both splits; let all training pictures vote on test pictures, by three embeddings."""
    trained = load_network(str(out / "encoder"), data)
    untrained = replace(trained, model=dp.make_model(PRETRAIN.model, METHOD.hidden, data.shape))
    untrained.about["weights"] = "untrained"
    normalise = Normalise.of(data.x)
    pictures = [dp.TensorLoader(d, 1000, normalise=normalise) for d in (data, test)]
    asked = torch.arange(ASKED)

    def flat(loader: dp.TensorLoader, order: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch.x.flatten(1) for batch in loader(order, train=False)])

    labels = data.labels, test.labels[:ASKED]
    pairs = {"raw pixels": (flat(pictures[0], torch.arange(data.n)), flat(pictures[1], asked))}
    for name, encoder in (("untrained", untrained), ("trained", trained)):
        bank = rows_of(encoder, data, out / f"rows-{name}")
        testing = replace(encoder, loader=pictures[1])
        pairs[name] = bank, rows_of(testing, test, out / f"rows-{name}-test")[:ASKED]
    found = {
        name: knn_accuracy(bank, labels[0], queries, labels[1])
        for name, (bank, queries) in pairs.items()
    }
    print(found)
    return {"knn": found}


def selection(arm: str, data: dp.Data, out: Path) -> Path:
    """Return the folder of an arm's selection: a side of the prototypes, no class below half."""
    side, _, fraction = arm.partition("-")
    folder = out / "kept" / arm
    if not folder.exists():
        rows, _ = load_embedding(out / "rows-trained", data)
        table = dp.score(
            {"embedding": np.array(rows)},
            ["prototypes"],
            options={"prototypes": {"k": data.num_classes}},
        )
        kept = dp.keep(
            table["prototypes"],
            float(fraction),
            rule=SIDES[side],
            labels=data.labels,
            class_floor=0.0 if side == "random" else 0.5,
        )
        dp.Selection(kept.indices, data.n, meta=kept.meta | {"fingerprint": data.fingerprint}).save(
            folder
        )
    return folder


def part_accuracy(data: dp.Data, test: dp.Data, out: Path, arm: str, steps: int) -> dict:
    """Train resnet8 on an arm, or go on, or read it."""
    sampler = None if arm == "all" else KeepSpec(str(selection(arm, data, out)))
    run = dp.Run(model="resnet8", steps=steps, sampler=sampler)
    model, history = train(run, data, out=out / f"run-{steps}" / arm)
    loader = dp.TensorLoader(data, augment="none")
    accuracy = dp.evaluate(model, dp.TensorLoader(test, 1000, normalise=loader.normalise))
    print(arm, accuracy, flush=True)
    return {arm: {"accuracy": accuracy, "steps": history.steps}}


def page(found: dict) -> str:
    """Return selfsup.md."""
    lines = [
        "# Self-supervised prototypes on the CIFAR-10 copy",
        "",
        "Generated by `benchmarks/selfsup.py`; do not edit. One thread, one seed.",
        "No label is read before the runs of the last table, but to say kNN accuracies and for the",
        "floor of half a fair share that each class keeps (as in Sorscher et al. 2022).",
        "",
    ]
    if "encoder" in found:
        one = found["encoder"]
        lines += [
            f"SimCLR, views of 24 pixels, {one['steps']:,} steps of 128 pictures "
            f"({one['views']:,} views), {one['seconds']:,} s.",
            "",
            *probed(one["probe"]),
        ]
    if "knn" in found:
        knn = found["knn"]
        lines += ["| embedding | kNN accuracy on test pictures |", "|---|---|"]
        lines += [f"| {name} | {100 * value:.1f} % |" for name, value in knn.items()]
        gain = 100 * (knn["trained"] - knn["raw pixels"])
        lines += [
            "",
            f"All 50,000 training pictures vote on the first {ASKED:,} test pictures (k = 20),",
            f"votes weighed by likeness: trained is {gain:+.1f} points from raw pixels.",
            "",
        ]
    runs = found.get("accuracy", {})
    for steps in sorted(runs, key=int):
        lines += [
            f"resnet8, {int(steps):,} steps of 128 for every run; test accuracy:",
            "",
            "| kept | far from the prototypes | near | random |",
            "|---|---|---|---|",
        ]
        for fraction in FRACTIONS:
            arms = (f"{side}-{fraction}" for side in SIDES)
            cells = (cell(runs[steps].get(arm)) for arm in arms)
            lines.append(f"| {100 * fraction:.0f} % | {' | '.join(cells)} |")
        lines += [f"| all | | | {cell(runs[steps].get('all'))} |", ""]
    if any(len(run) < len(ARMS) for run in runs.values()) or not runs:
        lines += [
            "Runs that are missing go on with `python benchmarks/selfsup.py --part accuracy`.",
            "",
        ]
    return "\n".join(lines)


def probed(probe: dict) -> list[str]:
    """Say what was printed while the encoder trained."""
    values = {**probe, "trained": probe["epochs"][-1]}
    said = ", ".join(
        f"{name} {100 * values[name]:.1f} %" for name in ("raw pixels", "untrained", "trained")
    )
    gain = 100 * (values["trained"] - values["raw pixels"])
    return [
        "kNN accuracy while training, 5,000 training pictures voting on 1,000 others:",
        f"{said}: {gain:+.1f} points.",
        "",
    ]


def cell(run: dict | None) -> str:
    return "-" if run is None else f"{100 * run['accuracy']:.1f} %"


def keep_result(result: dict) -> None:
    """Join the result with what is there, and write both files."""
    path = HERE / "selfsup.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for key, value in result.get("accuracy", {}).items():
        found.setdefault("accuracy", {}).setdefault(key, {}).update(value)
    found |= {key: value for key, value in result.items() if key != "accuracy"}
    path.write_text(json.dumps(found, indent=2) + "\n")
    (HERE / "selfsup.md").write_text(page(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="../shared/data/cifar10-webp")
    parser.add_argument("--out", type=Path, default=Path("runs/selfsup"))
    parser.add_argument("--part", choices=["encoder", "neighbours", "accuracy"], required=True)
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--epochs", type=int, default=PRETRAIN.epochs, help="of the encoder")
    parser.add_argument("--steps", type=int, default=600, help="of each run of resnet8")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = dp.open_data(options.data)
    if options.part == "encoder":
        keep_result(part_encoder(data, options.out, options.epochs))
        return
    test = dp.open_data(options.data, "test")
    if options.part == "neighbours":
        keep_result(part_neighbours(data, test, options.out))
        return
    for arm in options.only:
        one = part_accuracy(data, test, options.out, arm, options.steps)
        keep_result({"accuracy": {str(options.steps): one}})


if __name__ == "__main__":
    main()
