"""Masks under DistributedDataParallel: every process comes to the same masks and weights."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import datapruner as dp
from datapruner import UsageError
from datapruner.checkpoint import load_tensors, save_tensors

EPOCHS = 2

WAYS = {
    "cubic": dp.WeightPruning(0.3, allocation="erk", begin=0.0, end=0.8, every=0.1),
    "rigl": dp.WeightPruning(0.3, schedule="rigl", every=0.1, replaced=0.5),
    "set": dp.WeightPruning(0.3, schedule="set", every=0.1, replaced=0.5),
    "random": dp.WeightPruning(0.3, "random", schedule="before"),
    "snip": dp.WeightPruning(0.3, "snip", schedule="before", examples=16),
    "wanda": dp.WeightPruning(0.3, "wanda", begin=0.0, end=0.8, every=0.2, examples=16),
    "lookahead": dp.WeightPruning(0.3, "lookahead", begin=0.0, end=0.8, every=0.1),
    "movement": dp.WeightPruning(0.3, "movement", begin=0.1, end=0.8, every=0.1),
    "channel": dp.WeightPruning(0.5, pattern="channel", allocation="uniform", every=0.1),
    "soft": dp.WeightPruning(0.3, schedule="soft", every=0.1),
    "learned": dp.WeightPruning(0.3, "learned", every=0.1),
}


def network() -> nn.Module:
    torch.manual_seed(3)  # the same first weights everywhere, as in the manual way to train
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def _train(rank: int, way: dp.WeightPruning) -> tuple[dict, dict, list[str]]:
    """Train on this process's share of half the data; return weights, masks, and what was wrong."""
    random = torch.Generator().manual_seed(5)
    labels = torch.randint(10, (256,), generator=random)
    pictures = torch.rand(256, 1, 8, 8, generator=random) + labels.view(-1, 1, 1, 1) / 10
    examples = TensorDataset(pictures, labels)
    sampler = DistributedSampler(examples)
    loader = dp.prune(DataLoader(examples, 16, sampler=sampler), dp.RS2(0.5))
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    pruning = dp.masks.attach(model, optimizer, way, loader=DataLoader(examples, 16), seed=rank)
    if rank:  # what is scored differs as well
        shard = DataLoader(TensorDataset(*examples[100:]), 16)
        pruning = dp.masks.attach(model, optimizer, way, loader=shard, seed=rank)
    own_forward = way.schedule == "soft" or way.criterion == "learned"
    forward = pruning.forward if own_forward else parallel
    pruning.begin()
    wrong, step, steps = [], 0, EPOCHS * len(loader)
    for _ in range(EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(forward(x), y).backward()
            pruning.before_step(step / steps)
            optimizer.step()
            step += 1
            pruning.after_step(step / steps)
            for name, mask in pruning.masks.items():
                if (model.get_parameter(name)[~mask] != 0).any():
                    wrong.append(f"{name} at step {step}")
    masks = pruning.finalize()
    return dict(model.named_parameters()), masks, wrong


def _of_a_rank(rank, world, folder):
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    for name, way in WAYS.items():
        weights, masks, wrong = _train(rank, way)
        sections = {"weights": weights, "masks": masks}
        save_tensors(folder / f"{name}.{rank}", sections, {"wrong": wrong})
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_of_a_rank, args=(2, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_end_with_the_same_masks_and_weights(name, trained):
    (one, about), (two, _) = (load_tensors(trained / f"{name}.{rank}") for rank in range(2))
    assert about["wrong"] == []
    for section in ("masks", "weights"):
        assert one[section].keys() == two[section].keys()
        for key, tensor in one[section].items():
            assert torch.equal(tensor, two[section][key]), key
    first = dict(network().named_parameters())
    for key, mask in one["masks"].items():
        assert (one["weights"][key][~mask] == 0).all()
        assert not torch.equal(one["weights"][key][mask], first[key][mask]), "it was trained"
    ranked = ("0.weight", "5.weight")
    kept = sum(int(one["masks"][key].sum()) for key in ranked if key in one["masks"])
    if name != "channel":
        assert kept == round(0.3 * (54 + 960))
    else:
        assert int(one["masks"]["0.bias"].sum()) == 3


def test_the_wrapper_itself_is_no_network_to_mask(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'm'}", rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(network())
        optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
        with pytest.raises(UsageError, match="module"):
            dp.masks.attach(parallel, optimizer, WAYS["cubic"])
    finally:
        dist.destroy_process_group()
