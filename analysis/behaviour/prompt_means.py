"""Means of numbers of answers to groups of prompts, at every n of best-of-n and every checkpoint of a policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.behaviour.sycophancy import Found, Measured, Shares, about
from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Study, Unsuited
from analysis.runs.run_curves import PromptCurves, prompt_curves
from rlhf_lab.functional.intervals import Estimate, floored
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, str]  # a number of answers, a group of prompts


def asked(run: Run, points: Ints, columns: Sequence[str]) -> PromptCurves:
    """A run's answers with their family and these columns; Unsuited where they were not scored."""
    try:
        return prompt_curves(run, ["family", *columns], points)
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=every_family score.behaviour=true") from None


def shares(
    of: PromptCurves, questions: Ints, own: NDArray[np.bool_], top: Floats, bottom: Floats | None = None
) -> Shares:
    """By `questions` (C,), in order: means (P, K) over the prompts `own` (P,), or what they are a share of."""
    return Shares.of(questions, Found(of.question[own], top[own], None if bottom is None else bottom[own]))


def measured(read: Study, of_run: Callable[[Run, Curves], Mapping[Key, Shares]]) -> list[Measured]:
    """The numbers of every arm's replicates."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [(run, curves) for arm in read.arms for run, curves in zip(arm.runs, arm.curves, strict=True)]
        found = iter(list(pool.map(lambda job: of_run(*job), jobs)))
    return [Measured(arm, tuple(next(found) for _ in arm.runs)) for arm in read.arms]


def rates(of: Measured, key: Key) -> list[Estimate]:
    """A rate at every point of an arm."""
    return [floored(Estimate.of(one.T), of.questions(*key)) for one in np.moveaxis(of.draws(*key), 2, 0)]


def rows(of: Measured, keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
    """One row a number, group of prompts and point: the mean over replicates with its 95 % interval."""
    points, kl = of.arm.curves[0].points.tolist(), of.arm.drawn.mean().kl[0].tolist()
    for key in keys:
        name, group = key
        for point, nats, found in zip(points, kl, rates(of, key), strict=True):
            yield {
                **about(of.arm),
                **{"number": name, "prompts": group, "n_or_step": point, "kl": nats},
                **found.row("value"),
                **{"questions": of.questions(*key), "replicates": found.replicates},
            }
