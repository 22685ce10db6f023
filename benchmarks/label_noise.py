"""Which scores find wrong labels: 20 % of CIFAR-10's flipped, ROC-AUC of every scorer.

Run from the root of the repository; parts that are done are read again, a killed one goes on:

    python benchmarks/label_noise.py --parts traces el2n gradients suspects holdout clean

`traces` trains one run of resnet8 for 10 epochs, from which every training-dynamics scorer is
computed, and which `el2n` and `gradients` look at again. `suspects` trains two more runs, `holdout`
two on half of the data, `clean` one without flips, for the rank correlations. Parts that were not
run yet are left out of label_noise.md.
"""

import argparse
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

import datapruner as dp
from datapruner.clean import clean_loss, probs
from datapruner.files import read_json, write_json
from datapruner.gradients import (
    boundary_distance,
    embedding_norm,
    grad_norm,
    input_gradient_variance,
)
from datapruner.holdout import holdout_loss
from datapruner.noise import find_suspects, flip_labels
from datapruner.ranking import spearman
from datapruner.recording import spread_epochs
from datapruner.report.grids import heat_map
from datapruner.trained import load_epoch, ready
from scorers import PASS, SCORERS

HERE = Path(__file__).parent
RUN = dp.Run(model="resnet8", epochs=10)
TRACED = [
    *("el2n", "forgetting", "aum", "aum_probability", "loss", "entropy", "least_confidence"),
    *("confidence", "variability", "correctness", "first_learned", "dyn_unc", "dual", "tdds"),
]
AFTER = [0, 2, 4, 9]  # epochs after which EL2N's clean pass is tried
SAMPLE = 4_000  # examples that the gradient sweeps look at, the first of the data
PARTS = ("traces", "el2n", "gradients", "suspects", "holdout", "clean")


def auc(wrong: np.ndarray, score: np.ndarray) -> float:
    """Return how often a wrong label scores above a right one."""
    return round(float(roc_auc_score(wrong, score)), 4)


def recorded(data: dp.Data, folder: Path) -> dp.Record:
    def show(text: str, done: int, total: int) -> None:
        if done == total:
            print(text, flush=True)

    return dp.record(data, RUN, folder, checkpoints=spread_epochs(RUN), progress=show)


def traces(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Score one run by every training-dynamics scorer."""
    record = recorded(data, home / "flipped")
    table = dp.score(record, TRACED, data=data)
    found = {name: auc(wrong, table[name]) for name in TRACED}
    training = record.trace("error_norm")
    by_epoch = [auc(wrong, row.numpy()) for row in training]
    mean = auc(wrong, SCORERS["el2n"](training).numpy())
    return {
        "auc": found,
        "clean_epoch": record.clean_epochs[0] + 1,
        "error_norm_training": by_epoch,
        "error_norm_mean": mean,
    }


def el2n(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Score the first examples by EL2N in clean passes after several epochs of the same run."""
    record = recorded(data, home / "flipped")
    data.readable[SAMPLE:] = False
    error = clean_error(data, record, AFTER)[:, :SAMPLE]
    return {"auc": [auc(wrong[:SAMPLE], row.numpy()) for row in error]}


def gradients(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Score by clean passes and gradient sweeps of the same run, on the first examples."""
    record = recorded(data, home / "flipped")
    data.readable[SAMPLE:] = False
    labels, wrong = data.labels[:SAMPLE], wrong[:SAMPLE]
    late = [2, 4, 9]
    error = clean_error(data, record, late)[:, :SAMPLE]
    norms = grad_norm(data, record, epochs=late)[:, :SAMPLE]
    lengths = embedding_norm(data, record, epochs=late)[:, :SAMPLE]
    sources = {
        "deepfool": boundary_distance(data, record)[:SAMPLE],
        "top2_margin": torch.from_numpy(probs(data, record)[:SAMPLE]),
    }
    found: dict[str, float] = {}
    for row, epoch in enumerate(late):
        after = f"after epoch {epoch + 1}"
        found[f"grand {after}"] = auc(wrong, norms[row].numpy())
        last = SCORERS["grand_last_layer"](error[row : row + 1], lengths[row])
        found[f"grand_last_layer {after}"] = auc(wrong, last.numpy())
    for epochs, when in (((0, 1, 2), "epochs 1 to 3"), ((7, 8, 9), "epochs 8 to 10")):
        swept = input_gradient_variance(data, record, epochs=epochs)[:SAMPLE]
        found[f"vog, {when}"] = auc(wrong, SCORERS["vog"](swept, labels).numpy())
    found |= {name: auc(wrong, SCORERS[name](s).numpy()) for name, s in sources.items()}
    return {"auc": found}


def clean_error(data: dp.Data, record: dp.Record, epochs: list[int]) -> torch.Tensor:
    """Return ||p - onehot|| (epochs, n) in clean passes with the weights of these epochs."""
    net = ready(data, record)
    rows = []
    for epoch in epochs:
        p = torch.from_numpy(probs(data, load_epoch(net.model, record, epoch), run=net.run))
        p[torch.arange(data.n), data.labels] -= 1
        rows.append(p.norm(dim=1))
    return torch.stack(rows)


def suspects(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Flag labels by AUM's threshold class, and compare with which were flipped."""
    found = find_suspects(data, RUN, home / "suspects")
    flag = found.flag.numpy()
    truth = dp.open_data(home_of["data"]).labels.numpy()
    right = found.suggested.numpy() == truth
    return {
        "flagged": int(flag.sum()),
        "share": found.share,
        "precision": float(wrong[flag].mean()),
        "recall": float(flag[wrong].mean()),
        "auc": auc(wrong, -found.margin.numpy()),
        "suggested_right_of_flipped": float(right[wrong & flag].mean()),
    }


def holdout(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Score by RHO-loss: each half judged by a network that trained on the other."""
    record = recorded(data, home / "flipped")
    losses = holdout_loss(data, RUN, home / "holdout")
    table = dp.score(record, ["rho_loss"], extra={"holdout_loss": losses}, data=data)
    model_loss = clean_loss(data, record).numpy()
    return {
        "rho_loss": auc(wrong, table["rho_loss"]),
        "holdout_loss": auc(wrong, losses.numpy()),
        "clean_loss_at_the_end": auc(wrong, model_loss),
    }


def clean(home: Path, data: dp.Data, wrong: np.ndarray) -> dict[str, object]:
    """Record the run without flips, and correlate the scorers."""
    plain = dp.open_data(home_of["data"])
    table = dp.score(recorded(plain, home / "clean"), TRACED, data=plain)
    table.save(home / "clean.parquet")
    return {"spearman": [[round(spearman(table[a], table[b]), 2) for b in TRACED] for a in TRACED]}


home_of = {"data": "../shared/data/cifar10-webp"}


STYLE = """text { font: 12px sans-serif; fill: #333 } .cell.plus { fill: #1c6fb5 }
.cell.minus { fill: #b5541c } .cell-text.strong { fill: #fff }"""


def heat(matrix: list[list[float]]) -> str:
    """Draw the rank correlations between scorers, as a file of its own."""
    words = [[f"{value:.2f}" for value in row] for row in matrix]
    drawn = str(heat_map(TRACED, TRACED, np.array(matrix), words, "Rank correlation", left=150))
    first, rest = drawn.split(">", 1)
    return f'{first} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def page(done: dict[str, dict], machine: str) -> str:
    """Write what is there as Markdown."""
    lines = ["# Label noise", "", "Generated by `benchmarks/label_noise.py`; do not edit.", ""]
    lines += [
        "CIFAR-10 (the WebP copy, 50,000 training pictures), 20 % of the labels flipped to another "
        "class by `flip_labels(data, 0.2, seed=0)`. resnet8, 10 epochs, batch 128, cosine, default "
        "augmentation, seed 0. ROC-AUC for the flipped labels: 1 puts all of them first (high is "
        f"kept first), 0.5 is chance, 0 puts them last. {machine}.",
        "",
    ]
    if "traces" in done:
        found = done["traces"]
        lines += ["## From one recorded run", "", "| scorer | pass | ROC-AUC |", "|---|---|---|"]
        order = sorted(TRACED, key=lambda name: -found["auc"][name])
        for name in order:
            clean = PASS[name] == "clean"
            when = f"clean, after epoch {found['clean_epoch']}" if clean else "training, all epochs"
            lines.append(f"| `{name}` | {when} | {found['auc'][name]:.3f} |")
        rows = ", ".join(f"{value:.3f}" for value in found["error_norm_training"])
        lines += [
            "",
            "`variability`, `dyn_unc` and `dual` put wrong labels last by design: what never "
            "becomes certain does not vary. `entropy` and `least_confidence` look at no label.",
            "",
            "EL2N's clean pass stands by default after a tenth of the run (the paper's epoch 20 of "
            "200) and not before its third epoch. The error norm in the training pass, epoch by "
            f"epoch: {rows}; the mean over all epochs: {found['error_norm_mean']:.3f}.",
            "",
        ]
    if "el2n" in done:
        tried = zip(AFTER, done["el2n"]["auc"], strict=True)
        text = ", ".join(f"{value:.3f} after epoch {epoch + 1}" for epoch, value in tried)
        lines += [f"EL2N by the epoch of its clean pass (first {SAMPLE:,} examples): {text}.", ""]
    if "gradients" in done:
        head = f"## From gradients and clean passes of the same run, first {SAMPLE:,} examples"
        lines += [head, "", "| scorer | ROC-AUC |", "|---|---|"]
        lines += [f"| {name} | {value:.3f} |" for name, value in done["gradients"]["auc"].items()]
        lines.append("")
    if "suspects" in done:
        s = done["suspects"]
        lines += [
            "## AUM's threshold class: two runs, 99th percentile, constant learning rate",
            "",
            f"{s['flagged']:,} labels are flagged ({s['share']:.1%}; 20 % are wrong): precision "
            f"{s['precision']:.3f}, recall {s['recall']:.3f}, ROC-AUC of the margin "
            f"{s['auc']:.3f}. Of the wrong labels that are flagged, the networks name the original "
            f"class for {s['suggested_right_of_flipped']:.1%}.",
            "",
        ]
    if "holdout" in done:
        h = done["holdout"]
        lines += [
            "## With networks that have not seen the example",
            "",
            f"`rho_loss` {h['rho_loss']:.3f}, wrong labels last as it means to; the held-out loss "
            f"itself {h['holdout_loss']:.3f}; "
            f"the loss of the trained network in a clean pass {h['clean_loss_at_the_end']:.3f}.",
            "",
        ]
    if "clean" in done:
        lines += ["## Without flips: rank correlation between scorers", ""]
        lines += ["![Rank correlation between scorers](label_noise.svg)", ""]
        lines += ["| | " + " | ".join(f"`{n}`" for n in TRACED) + " |"]
        lines += ["|---" * (len(TRACED) + 1) + "|"]
        for name, row in zip(TRACED, done["clean"]["spearman"], strict=True):
            lines.append(f"| `{name}` | " + " | ".join(f"{v:.2f}" for v in row) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the parts that are asked for, and write the page of all that are done."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    words.add_argument("--data", default=home_of["data"])
    words.add_argument("--out", type=Path, default=Path("runs/label-noise"))
    words.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    words.add_argument("--threads", type=int, default=1)
    asked = words.parse_args()
    torch.set_num_threads(asked.threads)
    home_of["data"] = asked.data
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.json"
    for part in asked.parts:
        data, wrong = flip_labels(dp.open_data(asked.data), 0.2)
        data = replace(data, readable=data.readable.clone())
        found = globals()[part](asked.out, data, wrong.numpy())
        before = read_json(results) if results.exists() else {}
        write_json(results, before | {part: found})
        print(part, found, flush=True)
    done = read_json(results)
    if "clean" in done:
        drawn = heat(done["clean"]["spearman"])
        (HERE / "label_noise.svg").write_text(drawn, encoding="utf-8")
    machine = f"torch {torch.__version__}, {platform.machine()}, {asked.threads} thread(s), float32"
    (HERE / "label_noise.md").write_text(page(done, machine), encoding="utf-8")


if __name__ == "__main__":
    main()
