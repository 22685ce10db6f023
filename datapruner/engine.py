"""The one training loop."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .checkpoint import load_checkpoint, load_weights, save_checkpoint
from .errors import PrunerError, UsageError
from .evaluation import evaluate
from .fit_checks import as_logits, belongings, classes_of, refuse_unlike
from .hardware import float32_head, pick_device, place_model, placed, precision_of
from .history import Epoch, History
from .hooks import Masking, Masks, Observer, Progress
from .loaders import Batch, Loader
from .losses import Adaptive, Loss, SmoothedCrossEntropy, cross_entropy
from .optimizer import make_optimizer, rate
from .run import Run
from .samplers import Fixed, Sampler
from .seeds import seed_for


def fit(
    model: nn.Module,
    loader: Loader,
    sampler: Sampler | None,
    run: Run,
    *,
    loss: Loss | Adaptive | None = None,
    masks: Masks | None = None,
    observers: Sequence[Observer] = (),
    start: Mapping[str, Tensor] | None = None,
    begun: int = 0,
    test: Loader | None = None,
    checkpoint: Path | str | None = None,
    run_id: str | None = None,
    progress: Progress | None = None,
) -> History:
    """Train `model` in place on what `sampler` draws, by SGD over the run's budget.

    Minimises (weight * losses).mean() of each batch, divided by the rows, never by the sum of the
    weights. The learning rate follows progress: the share of the budget that is used up, in epochs
    or in steps as the run says. A batch that is a single row, where they are to be larger, goes
    through batch norms by their running statistics, because one row has no spread to divide by.

    Args:
        model: takes a batch's x, returns logits (b, C).
        loader: gives the batches of an order.
        sampler: what each epoch looks at; None is every example. An unbound one is bound here.
        run: the training fields are read, the data and model fields are not.
        loss: (logits, batch, progress) -> (b,); None is cross entropy with the run's smoothing.
        masks: prune weights during the run, and hold what is pruned at 0.
        observers: see each batch before its step and the end of each epoch.
        start: weights to start from, as `state_dict` gives them; None starts from the model's own.
        begun: steps of the run's budget, which is in steps then, that `start` has had already: the
            learning rate and the masks go on from there.
        test: read after each epoch, for the history alone.
        checkpoint: file written after each epoch; when it is there the run goes on from it.
        run_id: what the checkpoint must belong to; None is `run.id()`.
        progress: called as progress(text, steps done, steps in this epoch).

    Returns:
        What was done, epoch by epoch.

    Raises:
        PrunerError: the loss is no longer finite.
        UsageError: an argument is of another kind, the network does not give logits of all
            classes, or the loss not one value a row.
        Refused: the checkpoint belongs to another run, sampler, data or masks, or `start` to
            another network.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> model = dp.make_model("mlp", data.num_classes, data.shape)
        >>> history = dp.fit(model, dp.TensorLoader(data), dp.RS2(0.1), dp.Run(epochs=2))
        >>> history.examples
        288
    """
    refuse_unlike(loader, sampler, run, test)
    device = pick_device(run.device)
    place_model(model, device)
    everyone = Fixed(seed=run.seed) if sampler is None else sampler
    sampler = everyone.bind(len(loader.labels), loader.labels, loader.readable)
    classes = classes_of(loader) if loss is None else 0
    if loss is None:
        loss = SmoothedCrossEntropy(run.label_smoothing) if run.label_smoothing else cross_entropy
    if isinstance(loss, Adaptive):
        order = sampler.draw(0)[0]
        loss = loss.bind(len(order) / max(1, int(loader.readable.sum())), loader, order)
    if start is not None:
        load_weights(model, dict(start), "start")
    optimizer = make_optimizer(model, run)
    masking = None
    if masks is not None:
        masking = masks.attach(
            model, optimizer, loader=loader, sampler=sampler, loss=loss, run=run, device=device
        )
    if begun and not 0 < begun < run.steps:
        raise UsageError(f"{begun} steps are done of {run.steps}; set steps to more than these")
    history, run_id = History(begun=begun), run_id or run.id()
    of = {} if checkpoint is None else belongings(loader, sampler, masking)
    if checkpoint is not None and Path(checkpoint).exists():
        history, states = load_checkpoint(checkpoint, model, optimizer, run_id, of)
        sampler.load_state_dict(states["sampler"])
        if masking is not None:
            masking.load_state_dict(states["masks"])
    elif masking is not None:
        masking.begin()
    for observer in observers:
        observer.resume(len(history.epochs))
    listeners: tuple[Observer | Sampler, ...] = (sampler, *observers)
    training = _Training(
        model, loader, run, loss, optimizer, masking, sampler, listeners, device, classes
    )
    with float32_head(model, device, run.precision):
        while not _done(run, history):
            epoch = training.epoch(len(history.epochs), history, progress)
            began = time.perf_counter()
            sampler.end_epoch(epoch.epoch)
            epoch = epoch.with_sampling(time.perf_counter() - began)
            masked = masking
            if masking is not None and _done(run, history.plus(epoch)):
                masking.finish()
                masked = None  # the network is what is left, and observers see that too
            for observer in observers:
                observer.end_epoch(epoch.epoch)
            if test is not None:
                score = evaluate(
                    model,
                    test,
                    device=run.device,
                    precision=run.precision,
                    forward=None if masked is None else masked.forward,
                )
                epoch = replace(epoch, test_accuracy=score)
            history.epochs.append(epoch)
            if checkpoint is not None:
                states = {"sampler": sampler.state_dict()}
                if masking is not None:
                    states["masks"] = masking.state_dict()
                save_checkpoint(checkpoint, model, optimizer, states, history, run_id, of)
    return history


def _done(run: Run, history: History) -> bool:
    return history.steps >= run.steps if run.steps else len(history.epochs) >= run.epochs


class _Training:
    """One run under way: what an epoch needs and nothing that outlives it."""

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        run: Run,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        masking: Masking | None,
        sampler: Sampler,
        listeners: tuple[Observer | Sampler, ...],
        device: torch.device,
        classes: int,
    ) -> None:
        self.model, self.loader, self.run, self.loss = model, loader, run, loss
        self.classes = classes
        self.optimizer, self.sampler, self.listeners = optimizer, sampler, listeners
        self.device, self.masking = device, masking
        forward = model if masking is None else masking.forward
        self.forward = torch.compile(forward) if run.compile else forward

    def epoch(self, number: int, before: History, show: Progress | None) -> Epoch:
        """Train for one epoch, or for as much of it as the budget in steps allows."""
        started = time.perf_counter()
        order, weight = self.sampler.draw(number)
        drawn = time.perf_counter()
        size = -(-len(order) // self.loader.batch_size)
        steps = min(size, self.run.steps - before.steps) if self.run.steps else size
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        active = rows = taken = 0  # a loader that leaves a rest out takes a step less
        self.model.train()
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            precision_of(self.model, self.device, self.run.precision),
        ):
            batches = islice(self.loader(order, epoch=number, train=True), steps)
            for step, batch in enumerate(batches):
                self._seed(number, step)
                done = self._progress(number, step, steps, before.steps)
                active += 0 if self.masking is None else self.masking.active
                rows, taken = rows + len(batch.index), step + 1
                totals += self._step(number, batch, weight, done)
                if self.masking is not None:
                    self.masking.after_step(self._progress(number, step + 1, steps, before.steps))
                if show is not None:
                    show(f"epoch {number + 1}", step + 1, steps)
        if not rows:
            raise PrunerError(
                f"epoch {number + 1}: the loader gave no batch of the {len(order)} examples drawn; "
                "draw more, or take a smaller batch_size or no drop_last"
            )
        mean_loss, accuracy = (totals / rows).tolist()
        if not torch.isfinite(totals[0]):
            raise PrunerError(
                f"training loss is not finite in epoch {number + 1}; lower lr ({self.run.lr:g}) or "
                "set clip_norm"
            )
        return Epoch(
            epoch=number,
            examples=before.examples + rows,
            steps=before.steps + taken,
            seconds=before.seconds + time.perf_counter() - started,
            train_loss=mean_loss,
            train_accuracy=accuracy,
            sampling=before.sampling + drawn - started,
            active=None if self.masking is None else active / taken,
        )

    def _seed(self, number: int, step: int) -> None:
        """Make what the network draws (dropout) a function of the step, whatever a loader drew."""
        seed = seed_for(self.run.seed, "dropout", number, step)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU as well
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _progress(self, number: int, step: int, steps: int, before: int) -> float:
        if self.run.steps:
            return (before + step) / self.run.steps
        return (number + step / steps) / self.run.epochs

    def _step(self, number: int, batch: Batch, weight: Tensor | None, progress: float) -> Tensor:
        """Take one step; return the batch's summed loss and the number of rows that were right."""
        index = batch.index
        batch = Batch(index, placed(batch.x, self.device), batch.y.to(self.device))
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.run, progress)
        with _one_row(self.model) if len(index) == 1 < self.loader.batch_size else nullcontext():
            logits = as_logits(self.forward(batch.x), self.classes)
        losses = self.loss(logits, batch, progress)
        if losses.shape != index.shape:
            raise UsageError(
                f"the loss gave shape {tuple(losses.shape)} for a batch of {len(index)}; it must "
                'give one value for each row: compute it with reduction="none"'
            )
        share = losses if weight is None else losses * weight[index].to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        share.mean().backward()
        seen, plain = logits.detach(), losses.detach()
        for listener in self.listeners:
            listener.observe(number, batch, seen, plain)
        if self.masking is not None:
            self.masking.before_step(progress)
        if self.run.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.clip_norm)
        self.optimizer.step()
        right = (seen.argmax(1) == batch.y).sum()
        return torch.stack([plain.sum().double(), right.double()])


@contextmanager
def _one_row(model: nn.Module) -> Iterator[None]:
    """Let batch norms in training take the running statistics inside the block, and keep them."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
