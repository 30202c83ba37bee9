"""Gold that methods lose since their peaks, compared at one KL: pairs against best-of-n, and all of them ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import DRAWS, SEED, Arm
from analysis.runs.equal_kl import bound_of, path
from analysis.runs.turnover_claims import difference_se, loss_at, split
from analysis.statistics.resampling import original, resamples, weights_of
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]

AXES = ("tie-aware", "bound")  # of best-of-n's KL; others have one


FEWEST_POINTS = 3  # of a curve that can have lost something: a start, a peak, an end


class Against(NamedTuple):
    """How much more gold one arm has lost since its peak than another, at the largest KL both reach."""

    more: float  # SDs of gold
    se: float  # paired by question; over replicates too where there are five
    kl: float  # nats
    questions: int


def reach(arm: Arm, axis: str = "tie-aware") -> float:
    """The KL in nats that every replicate reaches where it can be estimated."""
    kl = bound_of(arm, axis)
    return min(
        float((curves.normalised().kl if kl is None else kl)[curves.kl_good].max()) for curves in arm.curves
    )


def is_curve(arm: Arm) -> bool:
    """Whether an arm has a peak to lose from: a rule at one strength alone does not."""
    return len(arm.curves[0].points) >= FEWEST_POINTS


def losses(arm: Arm, kl: float, axis: str = "tie-aware") -> Floats:
    """(R, C): gold of each run and question at the peak before `kl` minus gold there."""
    half, own = split(arm), bound_of(arm, axis)
    return np.stack([loss_at(curves, kl, half, own) for curves in arm.curves])


def against(arm: Arm, best: Arm, axis: str) -> Against:
    """The loss of `arm` minus that of `best`, on the questions that both have."""
    kl = min(reach(arm), reach(best, axis))
    common = np.intersect1d(arm.curves[0].questions, best.curves[0].questions)
    first, second = (_on(common, one, losses(one, kl, axis)) for one in (arm, best))
    return Against(float(first.mean() - second.mean()), difference_se(first, second), kl, len(common))


class Ranking(NamedTuple):
    """Losses of all methods that get far enough, at the KL that all of them reach."""

    arms: list[Arm]
    reach: float  # nats; NaN where no method gets far enough
    losses: dict[str, Floats]  # axis of best-of-n's KL -> (B, M), first as they are, then in every draw
    questions: int

    @property
    def worst(self) -> int:
        """The place of the arm with the largest loss."""
        return int(self.losses[AXES[0]][0].argmax())

    def probability(self) -> Floats:
        """(M,): the share of draws in which each arm's loss is the largest."""
        drawn = self.losses[AXES[0]][1:].argmax(axis=1)
        return np.bincount(drawn, minlength=len(self.arms)) / len(drawn)

    def gap(self) -> Floats:
        """(B,): the loss of the worst minus the largest of the others, under the axis where that is less."""
        others = np.arange(len(self.arms)) != self.worst
        sides = [table[:, self.worst] - table[:, others].max(axis=1) for table in self.losses.values()]
        return np.minimum(*sides)


def ranking(arms: Sequence[Arm], least_kl: float) -> Ranking:
    """Every arm that reaches `least_kl`, in draws of replicates (where there are five) and questions."""
    reaches = {arm.title: min(reach(arm, axis) for axis in AXES) for arm in arms}
    kept = [arm for arm in arms if reaches[arm.title] >= least_kl]
    if not kept:
        return Ranking([], float("nan"), {axis: np.zeros((DRAWS + 1, 0)) for axis in AXES}, 0)
    kl = min(reaches[arm.title] for arm in kept)
    common = kept[0].curves[0].questions
    for arm in kept[1:]:
        common = np.intersect1d(common, arm.curves[0].questions)
    drawn = {
        axis: np.stack([_drawn(_on(common, arm, losses(arm, kl, axis))) for arm in kept], axis=1)
        for axis in AXES
    }
    return Ranking(kept, kl, drawn, len(common))


def gold_at(arm: Arm, kl: float) -> tuple[float, float, float]:
    """Gold at a KL less gold on the initial policy, with its 95 % interval; NaN where a replicate does not
    reach it.

    A draw of questions that ends a little below the KL is taken at its end.
    """
    if not reach(arm) >= kl:
        return np.nan, np.nan, np.nan
    draws = []
    for replicate in range(len(arm.curves)):
        gold = path(arm, replicate, "gold")
        places = np.minimum(np.sqrt(kl), gold.d.max(axis=1, keepdims=True))
        draws.append(gold.at(places)[:, 0] - gold.values[:, 0])
    found = Estimate.of(np.stack(draws, axis=1))
    lo, hi = found.interval()
    return found.value, lo, hi


def _on(questions: NDArray[np.int64], arm: Arm, values: Floats) -> Floats:
    """(R, c): the columns of `values` (R, C) of these questions."""
    return values[:, np.isin(arm.curves[0].questions, questions)]


def _drawn(values: Floats) -> Floats:
    """(B,): the mean of `values` (R, C) as they are and in `DRAWS` draws of replicates and questions."""
    count, questions = values.shape
    draws = [original(count), *resamples(count, np.random.default_rng(SEED), DRAWS)]
    weights = weights_of(draws, questions) / questions
    taken = np.stack([np.bincount(draw.replicates, minlength=count) / count for draw in draws])
    return np.einsum("br,rc,bc->b", taken, values, weights)
