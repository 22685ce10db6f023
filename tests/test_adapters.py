"""Our order in a plain loop and in other people's trainers; those that are not installed skip."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from plain_loop import EPOCHS, SAMPLERS, Rows, installed, model, plain
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import datapruner as dp
from datapruner.adapters import accelerate as for_accelerate
from datapruner.adapters import lightning as for_lightning


@pytest.mark.parametrize("name", SAMPLERS)
def test_plain_loop(name):
    seen, _ = plain(SAMPLERS[name]())
    assert seen == plain(SAMPLERS[name]())[0]
    assert max(map(len, seen)) == 7


def test_shares_of_processes_that_the_loader_does_not_know():
    loaders = [
        dp.prune(DataLoader(Rows(), batch_size=5, shuffle=True), dp.RS2(0.5), rank=rank, world=3)
        for rank in range(3)
    ]
    for _ in range(2):
        parts = [[i for _ in loader for i in loader.indices.tolist()] for loader in loaders]
        assert [len(part) for part in parts] == [10, 10, 10]
        assert len({i for part in parts for i in part}) == 30
    with pytest.raises(dp.UsageError, match="rank 3 is not below world 3"):
        dp.prune(DataLoader(Rows()), dp.RS2(0.5), rank=3, world=3)
    with pytest.raises(dp.UsageError, match="give both"):
        dp.prune(DataLoader(Rows()), dp.RS2(0.5), rank=1)


def test_the_bound_sampler_says_what_was_saved():
    loader = dp.prune(DataLoader(Rows(), batch_size=7), dp.InfoBatch(4))
    for _ in range(3):
        for x, _ in loader:
            loader.observe(x[:, 0].abs())
    assert 0 < loader.bound.saved < 0.5


# -- Lightning -----------------------------------------------------------------------------------


def with_lightning(sampler, epochs=EPOCHS, start=None, saved=None):
    lightning = installed("lightning")
    seen = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model()

        def training_step(self, batch, index):
            x, y = batch
            loader = self.trainer.train_dataloader
            seen.append(loader.indices.tolist())
            return loader.observe(cross_entropy(self.net(x), y, reduction="none"))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3)

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of workers and precision
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            reload_dataloaders_every_n_epochs=1,
            enable_checkpointing=False,
            **quiet,
        )
        loader = DataLoader(Rows(), batch_size=7, shuffle=True)
        module = Module()
        trainer.fit(module, for_lightning.prune_for(trainer, loader, sampler), ckpt_path=start)
        if saved:
            trainer.save_checkpoint(saved)
    return seen, module.net.weight.detach()


@pytest.mark.parametrize("name", SAMPLERS)
def test_lightning_keeps_our_order(name):
    seen, weight = with_lightning(SAMPLERS[name]())
    expected, own = plain(SAMPLERS[name]())
    assert seen == expected
    assert torch.equal(weight, own)


def test_lightning_goes_on_with_the_epochs_of_its_checkpoint(tmp_path):
    path = tmp_path / "half.ckpt"
    first, _ = with_lightning(SAMPLERS["rs2"](), epochs=EPOCHS // 2, saved=path)
    rest, _ = with_lightning(SAMPLERS["rs2"](), start=path)
    assert first + rest == plain(SAMPLERS["rs2"]())[0]


def test_a_process_that_starts_after_prune_for_takes_its_own_share():
    """As with the strategies ddp_spawn and ddp_notebook."""
    trainer = SimpleNamespace(
        global_rank=0, world_size=2, reload_dataloaders_every_n_epochs=1, current_epoch=0
    )
    loader = for_lightning.prune_for(trainer, DataLoader(torch.arange(8), 2), [0, 2, 3, 5, 6])
    assert len(loader) == 1
    trainer.global_rank = 1
    assert [batch.tolist() for batch in loader] == [[2, 5]]
    trainer.world_size, trainer.current_epoch = 3, 1
    assert [batch.tolist() for batch in loader] == [[2]]


def test_lightning_without_reloading_is_refused():
    trainer = SimpleNamespace(global_rank=0, world_size=1, reload_dataloaders_every_n_epochs=0)
    with pytest.raises(dp.UsageError, match="reload_dataloaders_every_n_epochs=1"):
        for_lightning.prune_for(trainer, DataLoader(Rows()), dp.RS2(0.5))


# -- Accelerate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
def test_accelerate_keeps_our_order(name):
    accelerate = installed("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    loader = DataLoader(Rows(), batch_size=7, shuffle=True)
    pruned = for_accelerate.prune_for(accelerator, loader, SAMPLERS[name]())
    net, optimizer, prepared = accelerator.prepare(net, optimizer, pruned)
    assert prepared is pruned
    seen = []
    for _ in range(EPOCHS):
        for batch in pruned:
            x, y = accelerate.utils.send_to_device(batch, accelerator.device)
            loss = pruned.observe(cross_entropy(net(x), y, reduction="none"))
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            seen.append(pruned.indices.tolist())
    expected, own = plain(SAMPLERS[name]())
    assert seen == expected
    assert torch.equal(accelerator.unwrap_model(net).weight.detach(), own)
