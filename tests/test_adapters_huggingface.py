"""Our order in the Hugging Face Trainer, which skips where it is not installed."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from plain_loop import EPOCHS, SAMPLERS, Named, Rows, installed, model, plain
from torch.nn.functional import cross_entropy

import datapruner as dp
from datapruner.adapters import huggingface as for_huggingface


def fake_trainer(**more):
    """Return what prune_for reads of a Trainer, whose steps are of three batches."""
    arguments = SimpleNamespace(
        dataloader_drop_last=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        process_index=0,
        world_size=1,
        gradient_accumulation_steps=3,
    )
    return SimpleNamespace(
        args=arguments,
        train_dataset=list(range(8)),
        _train_batch_size=2,
        data_collator=torch.tensor,
        compute_loss_func=lambda: None,
        **more,
    )


def test_batches_that_are_taken_ahead_find_their_losses():
    """A step's batches are all taken before the first is trained on, the last ones with an end."""
    loader = for_huggingface.prune_for(fake_trainer(), dp.InfoBatch(4, seed=1))
    batches = iter(loader)
    for step in (3, 3):
        taken = [batch for _, batch in zip(range(step), batches, strict=False)]
        for batch in taken:
            assert loader.indices.tolist() == batch.tolist()
            assert loader.observe(batch.float()) == pytest.approx(batch.float().mean().item() / 3)
    loader.set_epoch(1)
    assert loader.bound.state_dict()["losses"].tolist() == list(range(8))


def test_an_evaluation_is_not_listened_to():
    loader = for_huggingface.prune_for(fake_trainer(), dp.InfoBatch(4, seed=1))
    for batch in loader:
        loader.observe(batch.float())
    with torch.no_grad():
        assert loader.observe(torch.tensor([90.0, 92])) == 91
    loader.set_epoch(1)
    assert loader.bound.state_dict()["losses"].tolist() == list(range(8))


def test_a_trainer_with_a_loss_of_its_own_divides_by_itself():
    loader = for_huggingface.prune_for(fake_trainer(), [1, 4, 6])
    loader.trainer.compute_loss_func = None
    next(iter(loader))
    assert loader.observe(torch.tensor([1.0, 3])) == 2


def with_trainer(sampler, folder, epochs=EPOCHS, **arguments):
    transformers = installed("transformers")
    installed("accelerate")
    seen, told = [], []

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model()

        def forward(self, x, labels=None):
            if self.training:
                seen.append([rows[tuple(row.tolist())] for row in x])
            return {"logits": self.net(x)}

    def loss(outputs, labels, num_items_in_batch=None):
        if outputs["logits"].requires_grad:
            told.append(loader.indices.tolist())
        return loader.observe(cross_entropy(outputs["logits"], labels, reduction="none"))

    rows = {tuple(x.tolist()): i for i, x in enumerate(Rows().x)}

    net = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=7,
            per_device_eval_batch_size=7,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            max_grad_norm=0,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            **arguments,
        )
        optimizers = (torch.optim.SGD(net.parameters(), lr=0.3), None)
        flat = torch.optim.lr_scheduler.LambdaLR(optimizers[0], lambda step: 1.0)
        trainer = transformers.Trainer(
            model=net,
            args=arguments,
            train_dataset=Named(),
            eval_dataset=Named(),
            optimizers=(optimizers[0], flat),
            compute_loss_func=loss,
        )
        loader = for_huggingface.prune_for(trainer, sampler)
        trainer.train()
    assert told == seen
    return seen, net.net.weight.detach()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "growing"])
def test_the_hugging_face_trainer_keeps_our_order(name, tmp_path):
    seen, weight = with_trainer(SAMPLERS[name](), tmp_path)
    expected, own = plain(SAMPLERS[name]())
    assert seen == expected
    assert torch.equal(weight, own)


@pytest.mark.parametrize("name", ["infobatch", "by score"])
def test_the_hugging_face_trainer_accumulates_and_evaluates(name, tmp_path):
    more = {"gradient_accumulation_steps": 3, "eval_strategy": "epoch"}
    seen, _ = with_trainer(SAMPLERS[name](), tmp_path, **more)  # which looks at what was told
    assert len(seen) > EPOCHS


def test_the_hugging_face_trainer_would_cut_off_longer_epochs():
    trainer = SimpleNamespace(args=None, data_collator=None)
    with pytest.raises(dp.UsageError, match="longer than its first"):
        for_huggingface.prune_for(trainer, SAMPLERS["growing"]())
