"""Our order in a plain loop and in other people's trainers; those that are not installed skip."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import datapruner as dp
from datapruner.adapters import accelerate as for_accelerate
from datapruner.adapters import huggingface as for_huggingface
from datapruner.adapters import lightning as for_lightning
from datapruner.vision import torchvision

N, EPOCHS = 64, 6
SAMPLERS = {
    "rs2": lambda: dp.RS2(0.3, seed=1),
    "growing": lambda: dp.RS2(lambda p: 0.2 + 0.6 * p, seed=1, epochs=EPOCHS),
    "infobatch": lambda: dp.InfoBatch(EPOCHS, seed=1),
    "by score": lambda: dp.ByScore(0.4, "loss", seed=1),
    "indices": lambda: list(range(0, N, 3)),
}


class Rows(torch.utils.data.Dataset):
    """Three classes of points; a row is (x, y)."""

    def __init__(self):
        make = torch.Generator().manual_seed(0)
        self.y = torch.arange(N) % 3
        self.x = torch.randn(N, 5, generator=make) + 2 * torch.nn.functional.one_hot(self.y, 5)

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Named(Rows):
    """The same with names for the columns, as the Hugging Face Trainer takes them."""

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}


def model():
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3)


def plain(sampler, epochs=EPOCHS):
    """Train somebody's own loop; return the batches' indices and the weights."""
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    loader = dp.prune(DataLoader(Rows(), batch_size=7, shuffle=True), sampler)
    seen = []
    for _ in range(epochs):
        for x, y in loader:
            loss = loader.observe(cross_entropy(net(x), y, reduction="none"))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loader.indices.tolist())
    return seen, net.weight.detach()


def installed(name):
    """Import a library, or skip; torchvision first, which some of them bring in."""
    torchvision("transforms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)


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


# -- Hugging Face Trainer ------------------------------------------------------------------------


def with_trainer(sampler, folder, epochs=EPOCHS):
    transformers = installed("transformers")
    installed("accelerate")
    seen = []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model()

        def forward(self, x, labels=None):
            return SimpleNamespace(logits=self.net(x))

    def loss(outputs, labels, num_items_in_batch=None):
        seen.append(loader.indices.tolist())
        return loader.observe(cross_entropy(outputs.logits, labels, reduction="none"))

    net = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=7,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            max_grad_norm=0,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        optimizers = (torch.optim.SGD(net.parameters(), lr=0.3), None)
        flat = torch.optim.lr_scheduler.LambdaLR(optimizers[0], lambda step: 1.0)
        trainer = transformers.Trainer(
            model=net,
            args=arguments,
            train_dataset=Named(),
            optimizers=(optimizers[0], flat),
            compute_loss_func=loss,
        )
        loader = for_huggingface.prune_for(trainer, sampler)
        trainer.train()
    return seen, net.net.weight.detach()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "growing"])
def test_the_hugging_face_trainer_keeps_our_order(name, tmp_path):
    seen, weight = with_trainer(SAMPLERS[name](), tmp_path)
    expected, own = plain(SAMPLERS[name]())
    assert seen == expected
    assert torch.equal(weight, own)


def test_the_hugging_face_trainer_would_cut_off_longer_epochs():
    trainer = SimpleNamespace(args=None, data_collator=None)
    with pytest.raises(dp.UsageError, match="longer than its first"):
        for_huggingface.prune_for(trainer, SAMPLERS["growing"]())
