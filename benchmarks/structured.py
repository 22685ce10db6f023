"""What half of the channels cost: dense, masked and physically smaller networks.

    python benchmarks/structured.py [--pairs 21] [--threads 1] [--json benchmarks/structured.json]

In each group of coupled channels the half with the larger L1 norm of its weight rows is kept (Li et
al. 2017). Times are of forward passes in eval mode, taken in turn pair by pair; a ratio is the
median over the pairs. The networks are not trained: neither operations nor time depend on it.
"""

import argparse
from copy import deepcopy
from dataclasses import asdict
from platform import machine, processor

import torch

import datapruner as dp
from datapruner.files import write_json
from datapruner.hardware import pick_device, place_model, placed
from datapruner.masks import apply_masks, cost, latency, remove
from datapruner.masks.channels import channel
from datapruner.masks.scope import prunable
from datapruner.masks.units import Scope, gathered, spread

NETWORKS = ("resnet8", "resnet20")
BATCHES = (1, 32)


def main() -> None:
    """Measure each network at each batch size; print a table, write JSON."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--pairs", type=int, default=21)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--networks", nargs="+", default=NETWORKS)
    words.add_argument("--json", default="benchmarks/structured.json")
    asked = words.parse_args()
    torch.set_num_threads(asked.threads)
    device = pick_device("auto")
    rows = []
    for name in asked.networks:
        dense = dp.make_model(name, 10, (3, 32, 32))
        example = torch.zeros(1, 3, 32, 32)
        masks = halves(dense, example)
        small = remove(dense, masks, example)
        masked = deepcopy(dense)
        apply_masks(masked, masks)
        counted = cost(dense, example, masks, small)
        for network in (dense, masked, small):
            place_model(network, device)
        for batch in BATCHES:
            x = placed(torch.randn(batch, 3, 32, 32), device)
            pairs = asked.pairs * (5 if batch == 1 else 1)  # one picture takes as long as a hiccup
            row = {
                "network": name,
                "batch": batch,
                **asdict(counted),
                "small": asdict(latency(dense, small, x, pairs=pairs)),
                "masked": asdict(latency(dense, masked, x, pairs=pairs)),
            }
            rows.append(row)
            print(line(row), flush=True)
    about = {
        "torch": torch.__version__,
        "threads": asked.threads,
        "device": str(device),
        "machine": processor() or machine(),
    }
    write_json(asked.json, {"about": about, "rows": rows})


def halves(model: torch.nn.Module, example: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mask the half of each group's channels whose weight rows have the smaller L1 norm."""
    names = prunable(model).names
    groups = channel(Scope(model, names, example))
    sizes = {name: model.get_parameter(name).detach().abs() for name in names}
    kept = []
    for group in groups:
        order = gathered(group, sizes, "sum").argsort(descending=True, stable=True)
        kept.append(torch.zeros(group.count, dtype=torch.bool))
        kept[-1][order[: group.count // 2]] = True
    return spread(groups, kept, model)


def line(row: dict) -> str:
    small, masked = row["small"], row["masked"]
    return (
        f"| {row['network']} | {row['batch']} | {row['flops'] / 1e6:.1f} | "
        f"{row['small_flops'] / 1e6:.1f} | {row['parameters']:,} | {row['small_parameters']:,} | "
        f"{small['dense'] * 1e3:.2f} | {small['small'] * 1e3:.2f} | {small['speedup']:.2f} "
        f"({small['lowest']:.2f} to {small['highest']:.2f}) | {masked['speedup']:.2f} |"
    )


if __name__ == "__main__":
    main()
