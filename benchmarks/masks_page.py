"""Write masks.md from the figures that masks.py kept."""

import statistics
from collections import defaultdict
from pathlib import Path

INTRO = {
    "densities": "LeNet-300-100 on MNIST, test accuracy in %. As many optimizer steps (1,800) for "
    "what is fine-tuned, gradual or random: 1,200 dense and 600 after one-shot pruning, or 1,800 "
    "from the start. Global ranking by magnitude; a cubic ramp from 10 to 70 % of the steps; "
    "random masks before training.",
    "tickets": "Lottery tickets: LeNet-300-100 on MNIST, plain SGD 0.1, batches of 60, 1,000 steps "
    "a round, 20 % of each layer's weights a round (10 % of the classifier's), rewound to the "
    "first weights. `ticket` is the accuracy after the round, the others after the first 300 "
    "steps: of the ticket, and of the same mask on other first weights (two of them).",
    "width": "784-w-w-10 on MNIST, 1,000 steps: all weights, or a random tenth (ERK) chosen before "
    "training. The gap narrows as the network gets wider.",
    "cost": "A masked step against a dense one of an equal network, batches of 128, one thread: "
    "the median over interleaved pairs, in the middle of a run of 10,000 steps at density 0.1.",
    "resnet20": "resnet20 on the CIFAR-10 copy, 10 epochs for all.",
}

COLUMNS = (
    *("dense", "magnitude, no fine-tuning", "lookahead, no fine-tuning", "one-shot, fine-tuned"),
    *("gradual", "random erk", "random uniform", "random, 10 %", "ticket", "ticket, step 300"),
    *("fresh weights, step 300", "before", "cubic", "rigl"),
)


def page(figures: dict[str, float], path: Path) -> None:
    """Write a table a part: a row a density or width, a column a method, means over seeds."""
    parts: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(dict)
    for name, value in figures.items():
        part, _, row, column, *_ = name.split("/")
        parts[part].setdefault(row, {}).setdefault(column, []).append(value)
    lines = ["# Weight masks, measured", "", "Written by `benchmarks/masks.py`.", ""]
    for part, text in INTRO.items():
        if part in parts:
            lines += [f"## {part}", "", text, "", *_table(part, parts[part]), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _table(part: str, rows: dict[str, dict[str, list[float]]]) -> list[str]:
    there = {column for row in rows.values() for column in row}
    columns = [column for column in COLUMNS if column in there]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in sorted(rows, key=_number, reverse=part not in ("width", "cost")):
        cells = [_cell(part, rows[row].get(column, [])) for column in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def _cell(part: str, values: list[float]) -> str:
    if not values:
        return ""
    if part == "cost":
        return f"{statistics.mean(values):.3f}"
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.2f}{spread}"


def _number(row: str) -> float:
    try:
        return float(row.removesuffix(" %"))
    except ValueError:
        return 0.0
