"""What a run would cost, for --dry-run: counted work and memory, and a few timed steps."""

import time
from typing import TYPE_CHECKING, Any

from ..run import Run
from ..sampler_specs import InfoBatchSpec

if TYPE_CHECKING:
    from ..data import Data


def estimate(run: Run, data: "Data", *, recording: bool) -> dict[str, Any]:
    """Return examples, steps, parameters, bytes and seconds that training would take.

    What a sampler leaves out as it goes (InfoBatch) is not known beforehand and not taken off.
    Seconds come from the median of six steps on this machine, after two to warm up; evaluation is
    not counted. Memory is what the project adds: the data held, the traces' rows, the weights with
    gradient and momentum; activations and a teacher's weights are the networks' own.
    """
    from ..networks import parameter_count
    from ..training import make_loader, make_sampler, network

    sampler, _ = make_sampler(run, data)
    bound = sampler.bind(data.n, data.labels, data.readable)
    per_epoch = len(bound.draw(0)[0])
    steps = run.steps or _steps(run, bound, data, per_epoch)
    loader, lesson = make_loader(data, run), None
    if run.distill is not None:
        from ..teacher_words import taught

        lesson = taught(run, data, loader, sampler)
        loader = lesson.loader
    model = network(run, data, loader)
    memory = 12 * parameter_count(model)
    memory += 0 if data.x is None else data.x.numel() * data.x.element_size()
    if recording:
        memory += data.n * (20 + 4 * data.num_classes)
    step = _seconds_a_step(run, loader, model, bound.draw(0)[0], lesson)
    return {
        "examples_an_epoch": per_epoch,
        "steps": steps,
        "parameters": parameter_count(model),
        "memory_bytes": memory,
        "seconds": round(step * steps, 1),
    }


def _steps(run: Run, sampler: Any, data: "Data", per_epoch: int) -> int:
    from ..step_count import steps

    if isinstance(run.sampler, InfoBatchSpec):
        return run.epochs * -(-per_epoch // run.batch_size)
    return steps(
        sampler,
        data.n,
        epochs=run.epochs,
        batch_size=run.batch_size,
        labels=data.labels,
        readable=data.readable,
    )


def _seconds_a_step(run: Run, loader: Any, model: Any, order: Any, loss: Any) -> float:
    from dataclasses import replace

    from ..engine import fit
    from ..samplers import Fixed

    ticks: list[float] = []
    few = Fixed(order[: 8 * run.batch_size])
    trial = replace(run, steps=0, epochs=1, clean_epochs=(), sampler=None)
    tick = lambda *_: ticks.append(time.perf_counter())  # noqa: E731 - a line
    fit(model, loader, few, trial, loss=loss, progress=tick)
    gaps = sorted(b - a for a, b in zip(ticks[1:], ticks[2:], strict=False)) or [0.0]
    return gaps[len(gaps) // 2]


def text(cost: dict[str, Any]) -> str:
    """Return the estimate as one line."""
    runs = f"{cost['runs']:g} runs of " if "runs" in cost else ""
    return (
        f"{runs}{cost['examples_an_epoch']:,} examples an epoch, {cost['steps']:,} steps, "
        f"{cost['parameters']:,} parameters, {cost['memory_bytes'] / 2**20:,.0f} MiB, "
        f"about {cost['seconds']:,.0f} s"
    )
