"""The CIFAR-10 part of benchmarks/distillation.py: does the choice of a subset still matter?"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from distillation_book import Book, share
from torch import nn

import datapruner as dp
from datapruner.loaders import Loader
from datapruner.teacher_cache import CachedTeacher

TEACHER = dp.Run(model="resnet8", epochs=30)
CIFAR = dp.Run(model="distillation_net:half", epochs=10)
RULES = {"random": "random", "el2n": "top", "forgetting": "top", "ccs": "ccs"}


def cifar(words: argparse.Namespace, book: Book) -> None:
    """Cross four ways to choose with a teacher and without; then weights for random subsets."""
    data, test = dp.open_data(words.cifar), dp.open_data(words.cifar, "test")
    loader, home = dp.TensorLoader(data), words.out / "cifar"
    tester = dp.TensorLoader(test, 1000, normalise=loader.normalise)
    model, history = dp.train(TEACHER, data, test=test, out=home / "teacher")
    book.value("cifar", "the teacher", 0, lambda: history.accuracy)
    # the views that the teacher is asked about are those that every student sees
    teacher = dp.cache_teacher(data, model, home / "logits", views=CIFAR.epochs, run=CIFAR)
    record = dp.record(data, CIFAR, home / "record")
    scores = dp.score(record, ["el2n", "forgetting", "aum"], data=data)
    by = {"random": "el2n", "ccs": "aum"}
    shares = (0.1, 0.3, 0.5)
    crossed = [(f, n, w) for w in ("0", "auto") for f in shares for n in RULES]
    swept = [(f, "random", w) for f in shares for w in ("0.5", "0.9", "1", "kept")]
    weighed = [(0.1, "random", w) for w in ("0.5", "0.9", "1", "auto")]  # short runs
    few = range(words.cifar_seeds)
    more = range(words.cifar_seeds, words.cifar_seeds + words.cifar_more)
    for cells, seeds in ((crossed, few), (swept, few), (weighed, more)):
        for seed in seeds:
            student = partial(_student, loader, replace(CIFAR, seed=seed))
            for fraction, name, weight in cells:
                chosen = scores[by.get(name, name)]
                kept = dp.keep(chosen, fraction, rule=RULES[name], labels=data.labels, seed=seed)
                work = partial(_judged, tester, student, kept, teacher, weight)
                book.value("cifar", f"{100 * fraction:g} % {name}: {weight}", seed, work)


def _judged(
    tester: dp.TensorLoader,
    student: Callable[..., nn.Module],
    kept: dp.Selection,
    teacher: CachedTeacher,
    weight: str,
) -> float:
    """Return the accuracy of a student, whose teacher may be one that saw the kept subset only."""
    if weight == "0":
        return dp.evaluate(student(kept, None), tester)
    if weight == "kept":
        own = student(kept, None, first=1000)
        return dp.evaluate(student(kept, dp.Distill(own, 0.5)), tester)
    return dp.evaluate(student(kept, dp.Distill(teacher, share(weight)), teacher.loader), tester)


def _student(
    loader: dp.TensorLoader,
    run: dp.Run,
    kept: dp.Selection,
    loss: dp.Distill | None,
    seen: Callable[[Loader], Loader] = lambda loader: loader,
    *,
    first: int = 0,
) -> nn.Module:
    model = dp.make_model(run.model, 10, tuple(loader.x.shape[1:]), seed=run.seed + first)
    views = seen(loader)
    lesson = loss and loss.bind(len(kept.indices) / kept.n, views, kept.indices)
    dp.fit(model, views, dp.Fixed(kept, seed=run.seed), run, loss=lesson)
    return model
