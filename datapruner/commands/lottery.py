"""`datapruner lottery`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from ..console import Console
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of
from .teaching import Draw, Drawn, Teach, Teaching
from .train import open_test

if TYPE_CHECKING:
    from ..masks.tickets import Round


def lottery(
    data: DataWord,
    /,
    rewind: str,
    rounds: int = 10,
    rate: float | str = 0.2,
    within: Literal["network", "layer", "neuron"] = "network",
    classifier_rate: float | None = None,
    skip: str = "",
    out: str = "lottery",
    drawing: Draw = Drawn(),  # noqa: B008 - frozen
    teaching: Teach = Teaching(),  # noqa: B008 - frozen
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Look for a winning ticket: train, prune, rewind, and again, round after round.

    Each round removes weights of lowest magnitude, the same share of those that are left or as many
    as --rate sap finds, puts the others back to what they were early in training, and trains again.
    With --keep or --rs2 the rounds are trained on that share of the data, with --teacher by that
    teacher. A lottery that is interrupted goes on from its folder, and so does one that is given
    more rounds.

    Args:
        rewind: what the weights that are left go back to: 0 (the first weights), a share of the run
            such as 2%, steps such as 500steps, lr (the weights stay, the learning rate starts
            again) or none.
        rounds: times that weights are removed.
        rate: share of the weights left that a round removes; or sap, which removes as much as the
            PQ index of the weights left allows, with numbers of its own as in sap:gamma=2 (gamma
            above 1 prunes faster) or sap:p=1,q=2.
        within: rank the weights of the whole network together, of each layer by itself, or with
            sap of each neuron.
        classifier_rate: the classifier's own rate (with --within layer).
        skip: layers to leave whole: first, classifier, or patterns of names, with commas between.
        out: folder of the rounds.
    """
    from ..data import open_data
    from ..masks import prunable
    from ..masks.removing import Removal
    from ..masks.rewinding import Rewind
    from ..masks.tickets import check
    from ..masks.tickets import lottery as work
    from ..training import make_loader, make_sampler, network

    sampler = drawing.shared(teaching).spec()
    run = run_of(training, data=data, sampler=sampler, distill=teaching.spec())
    plan, removal = Rewind.read(rewind), Removal.read(rate, within, classifier_rate)
    with Console() as console:
        opened = open_data(data, "train", download=opening.download, strict=opening.strict)
        test = open_test(data, opening, console)
        if common.dry_run:
            from .estimate import estimate, text

            loader, (drawn, _) = make_loader(opened, run), make_sampler(run, opened)
            model = network(run, opened, loader)
            check(run, model, loader, drawn, rounds=rounds, removal=removal, plan=plan, skip=skip)
            cost = estimate(run, opened, recording=False)
            print(
                json.dumps({"runs": rounds + 1, "run": cost})
                if common.json
                else f"{rounds + 1} runs, each: {text(cost)}"
            )
            return
        console.say(prunable(network(run, opened, make_loader(opened, run)), skip).text())
        found = work(
            run,
            opened,
            rounds=rounds,
            rate=rate,
            rewind=rewind,
            within=within,
            classifier_rate=classifier_rate,
            skip=skip,
            test=test,
            out=out,
            progress=console.progress,
        )
    print(json.dumps([asdict(one) for one in found]) if common.json else table(found))


def table(rounds: "list[Round]") -> str:
    """Return the rounds as lines: density, weights kept, test accuracy, seconds.

    Example:
        >>> from datapruner.masks.tickets import Round
        >>> print(table([Round(0, 1.0, 266_200, 0.979, 4690, 12.5)]))
        round    density    weights   accuracy    seconds
            0   100.00 %    266,200    97.90 %       12.5
    """
    lines = [f"{'round':>5}{'density':>11}{'weights':>11}{'accuracy':>11}{'seconds':>11}"]
    for one in rounds:
        accuracy = "-" if one.accuracy is None else f"{100 * one.accuracy:.2f} %"
        lines.append(
            f"{one.number:>5}{100 * one.density:>9.2f} %{one.kept:>11,}{accuracy:>11}"
            f"{one.seconds:>11,.1f}"
        )
    return "\n".join(lines)
