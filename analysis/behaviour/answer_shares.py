"""Shares of answers that show a behaviour, question by question, at every point of an arm's curves.

A share is kept as its numerator and its denominator by question, so that it can be taken under any weights of
questions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Arm, Study, Unsuited
from analysis.runs.equal_kl import Difference, Path, pairs, path_difference, root_kl
from analysis.runs.run_curves import PromptCurves, prompt_curves
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.divergence import best_of_n_bound
from rlhf_lab.functional.intervals import Estimate, cluster_means, floored
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, str]  # a number of answers, and the group of prompts or questions that it is taken over

ALL, KNOWN = "all", "known"  # groups of questions: every one, and those that the initial policy knows


class PromptShares(NamedTuple):
    """Numbers of U prompts or groups of prompts, several of which may belong to one question."""

    question: Ints  # (U,)
    top: Floats  # (U, K) numerators
    bottom: Floats | None = None  # (U, K) denominators; None stands for ones


class Shares(NamedTuple):
    """Numerators and denominators of a share by question; 0 over 0 where a question has none."""

    top: Floats  # (C, K)
    bottom: Floats  # (C, K)

    @classmethod
    def of(cls, questions: Ints, prompts: PromptShares) -> Shares:
        """Return the means over the prompts of each of `questions` (C,), which are in ascending order."""
        present = np.searchsorted(questions, np.unique(prompts.question))
        shape = len(questions), prompts.top.shape[1]
        top, bottom = np.zeros(shape), np.zeros(shape)
        top[present] = cluster_means(prompts.top, prompts.question)
        bottom[present] = 1 if prompts.bottom is None else cluster_means(prompts.bottom, prompts.question)
        return cls(top, bottom)

    def mean(self, weights: Floats) -> Floats:
        """(B, K): the ratio of the means over questions under weights (B, C); NaN where the denominator is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ self.top) / (weights @ self.bottom)

    def among(self, kept: NDArray[np.bool_]) -> Shares:
        """Return the shares of the questions `kept` (C,) alone."""
        return Shares(self.top * kept[:, None], self.bottom * kept[:, None])

    @property
    def questions(self) -> int:
        """How many questions have a share at any point."""
        return int((self.bottom > 0).any(axis=1).sum())


@dataclass(frozen=True)
class Measured:
    """Shares of the answers of an arm's replicates."""

    arm: Arm
    shares: tuple[Mapping[Key, Shares], ...]  # of each replicate

    @cached_property
    def weights(self) -> Floats:
        """(B, C): of questions, first once each."""
        return weights_of(self.arm.drawn.resamples, self.arm.questions)

    def draws(self, name: str, among: str = ALL) -> Floats:
        """(R, B, K): a share of each replicate, as it is and in every draw of questions."""
        return np.stack([shares[name, among].mean(self.weights) for shares in self.shares])

    def risen(self, name: str, among: str = ALL) -> Floats:
        """(R, B, K): the same minus its value on the initial policy."""
        draws = self.draws(name, among)
        return draws - draws[:, :, :1]

    def at(self, point: int, name: str, among: str = ALL) -> Estimate:
        """Return a share at one point of the curve."""
        return Estimate.of(self.draws(name, among)[:, :, point].T)

    def change(self, name: str, among: str = ALL) -> Estimate:
        """Return the change of a share from the initial policy to the last point."""
        return Estimate.of(self.risen(name, among)[:, :, -1].T)

    def at_kl(self, nats: float, name: str, among: str = ALL) -> Estimate | None:
        """Return a share where each run first gets `nats` from the initial policy, linear between points.

        Runs that stay nearer are left out; None where all do.
        """
        values = []
        for replicate, draws in enumerate(self.draws(name, among)):
            path = self.path(replicate, draws)
            furthest = path.d.max(axis=1)
            if furthest[0] >= np.sqrt(nats):
                values.append(path.at(np.minimum(np.sqrt(nats), furthest)[:, None])[:, 0])
        return Estimate.of(np.stack(values, axis=1)) if values else None

    def late(self, name: str, among: str = ALL) -> Floats:
        """(R, B): the mean of a share over the later part of the optimisation.

        For best-of-n that is every n from half of the largest d on, d by the analytic bound, which is the same in all
        arms; for a trained policy every checkpoint from half of its steps on.
        """
        points = self.arm.curves[0].points
        d = np.sqrt(best_of_n_bound(points)) if self.arm.chooses else points
        return self.draws(name, among)[:, :, d >= d[-1] / 2].mean(axis=2)

    def questions(self, name: str, among: str = ALL) -> int:
        """Return how many questions have a share, in the replicate that has the fewest."""
        return min(shares[name, among].questions for shares in self.shares)

    def path(self, replicate: int, values: Floats) -> Path:
        """Return values (B, K) of a replicate over its root KL."""
        return Path(root_kl(self.arm.curves[replicate], self.weights, None), values)


def measure_arms(study: Study, measure: Callable[[Run, Curves], Mapping[Key, Shares]]) -> list[Measured]:
    """Return what `measure` finds in each replicate, arm by arm."""
    jobs = [(run, curves) for arm in study.arms for run, curves in zip(arm.runs, arm.curves, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        shares = iter(list(pool.map(lambda job: measure(*job), jobs)))
    return [Measured(arm, tuple(next(shares) for _ in arm.runs)) for arm in study.arms]


# --- one arm against another ------------------------------------------------------------------------------------


class Against(NamedTuple):
    """A share of an arm minus that of its control, over replicates of the same seeds."""

    arm: Measured
    control: Measured
    metric: str
    among: str
    end: Estimate  # at the largest n or the last checkpoint
    equal_kl: Difference | None  # None where the method chooses from a table


def against(
    arm: Measured, control: Measured, metric: str, among: str = ALL, from_start: bool = False
) -> Against:
    """Compare a share, or with `from_start` its change from the initial policy, paired by seeds and question.

    Raises ValueError where the two arms have no seeds in common.
    """
    replicates = pairs(arm.arm, control.arm)
    if not replicates:
        raise ValueError(f"{arm.arm.title} and {control.arm.title} have no seeds in common")
    first, second = (
        measured.risen(metric, among) if from_start else measured.draws(metric, among)
        for measured in (arm, control)
    )
    end = np.stack([first[i, :, -1] - second[j, :, -1] for i, j in replicates], axis=1)
    paths = [(arm.path(i, first[i]), control.path(j, second[j])) for i, j in replicates]
    return Against(
        arm, control, metric, among, Estimate.of(end), None if arm.arm.chooses else path_difference(paths)
    )


# --- groups of prompts ------------------------------------------------------------------------------------------


def scored_answers(run: Run, points: Ints, columns: Sequence[str]) -> PromptCurves:
    """Return a run's answers with their family and these columns; raises Unsuited where they were not scored."""
    try:
        return prompt_curves(run, ["family", *columns], points)
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=every_family score.behaviour=true") from None


def prompt_shares(
    answers: PromptCurves,
    questions: Ints,
    prompts: NDArray[np.bool_],
    top: Floats,
    bottom: Floats | None = None,
) -> Shares:
    """Return, by `questions` (C,), the means of numerators and denominators (P, K) over the `prompts` (P,) marked."""
    denominators = None if bottom is None else bottom[prompts]
    return Shares.of(questions, PromptShares(answers.question[prompts], top[prompts], denominators))


# --- tables -----------------------------------------------------------------------------------------------------


def arm_columns(arm: Arm) -> dict[str, Any]:
    """Return the columns that name an arm, with which its rows begin."""
    return {"method": arm.method, "rm": arm.rm, "label": arm.label}


def fit_row(arm: Arm, form: str, parameter: str, estimate: Estimate, n: int) -> dict[str, Any]:
    """Return one row of a table of fits."""
    return {
        **arm_columns(arm),
        "form": form,
        "parameter": parameter,
        **estimate.row(),
        "n": n,
        "replicates": estimate.replicates,
        "note": estimate.note,
    }


def rates(measured: Measured, key: Key) -> list[Estimate]:
    """Return a rate at every point of an arm; its SE is at least that of one question which differs."""
    draws = np.moveaxis(measured.draws(*key), 2, 0)
    return [floored(Estimate.of(at_point.T), measured.questions(*key)) for at_point in draws]


def rate_rows(measured: Measured, keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
    """Return one row a number, group of prompts and point: the mean over replicates with its 95 % interval."""
    points, kl = measured.arm.curves[0].points.tolist(), measured.arm.drawn.mean().kl[0].tolist()
    for key in keys:
        name, group = key
        for point, nats, rate in zip(points, kl, rates(measured, key), strict=True):
            yield {
                **arm_columns(measured.arm),
                "number": name,
                "prompts": group,
                "n_or_step": point,
                "kl": nats,
                **rate.row("value"),
                "questions": measured.questions(*key),
                "replicates": rate.replicates,
            }
