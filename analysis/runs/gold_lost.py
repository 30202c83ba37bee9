"""Gold that arms lose from their peaks to the end, or to one KL that they share.

Peak and loss are measured on different halves of the questions, so that choosing the peak adds nothing to the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import DRAWS, SEED, Arm
from analysis.runs.equal_kl import bound_of, path
from analysis.statistics.resampling import original, resamples, weights_of
from analysis.statistics.turnover import halves, turnover
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]

AXES = ("tie-aware", "bound")  # estimates of best-of-n's KL; other methods have one
FEWEST_POINTS = 3  # of a curve that can have lost something: a start, a peak, an end


class Against(NamedTuple):
    """How much more gold one arm has lost since its peak than another, at the largest KL both reach."""

    more: Estimate  # SDs of gold, paired by question
    kl: float  # nats
    questions: int
    turned: bool  # whether most runs of the arm itself have turned before that KL


def reach(arm: Arm, axis: str = "tie-aware") -> float:
    """Return the KL in nats that every replicate reaches where it can be estimated."""
    kl = bound_of(arm, axis)
    return min(
        float((curves.normalised().kl if kl is None else kl)[curves.kl_good].max()) for curves in arm.curves
    )


def is_curve(arm: Arm) -> bool:
    """Return whether an arm has a peak to lose from: a rule at one strength alone does not."""
    return len(arm.curves[0].points) >= FEWEST_POINTS


def losses(arm: Arm, kl: float, axis: str = "tie-aware") -> Floats:
    """(R, C): gold of each run and question at the peak before `kl` minus gold there."""
    half, bound = split(arm), bound_of(arm, axis)
    return np.stack([loss_at(curves, kl, half, bound) for curves in arm.curves])


def against(arm: Arm, best: Arm, axis: str) -> Against:
    """Return the loss of `arm` minus that of `best`, on the questions that both have."""
    kl = min(reach(arm), reach(best, axis))
    common = np.intersect1d(arm.curves[0].questions, best.curves[0].questions)
    first, second = (_on(common, side, losses(side, kl, axis)) for side in (arm, best))
    return Against(Estimate.of_difference(first, second), kl, len(common), turned(first))


def turned(losses: Floats) -> bool:
    """Return whether most losses (R, C) are of curves that have turned; of one that has not they are 0."""
    return bool((losses != 0).mean() > 0.5)


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
    """Return the losses of every arm that reaches `least_kl`, in draws of replicates (from five on) and questions."""
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
    """Return gold at a KL less gold on the initial policy, and its 95 % interval.

    All are NaN where a replicate does not reach the KL. A draw of questions that ends a little below it is taken
    at its end.
    """
    if not reach(arm) >= kl:
        return np.nan, np.nan, np.nan
    draws = []
    for replicate in range(len(arm.curves)):
        gold = path(arm, replicate, "gold")
        places = np.minimum(np.sqrt(kl), gold.d.max(axis=1, keepdims=True))
        draws.append(gold.at(places)[:, 0] - gold.values[:, 0])
    gain = Estimate.of(np.stack(draws, axis=1))
    lo, hi = gain.interval()
    return gain.value, lo, hi


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


def split(arm: Arm) -> NDArray[np.bool_]:
    """(C,): the half of the questions on which a peak is chosen; the same for arms with the same questions."""
    return halves(arm.questions, np.random.default_rng(SEED))


def loss_at(curves: Curves, reach: float, half: NDArray[np.bool_], kl: Floats | None = None) -> Floats:
    """(C,): gold of each question at the peak up to KL = `reach` nats minus its gold there.

    A curve that is highest there has not turned and has lost nothing, 0. Gold is linear in d between points; `kl` (K,),
    where it is given, takes the place of the run's own.
    """
    d, gold = curves.normalised().d if kl is None else np.sqrt(kl), curves.by_question("gold")
    target = np.sqrt(reach)
    after = max(int(np.argmax(d >= target - 1e-9)), 1)
    share = (target - d[after - 1]) / (d[after] - d[after - 1])
    there = gold[:, after - 1] + share * (gold[:, after] - gold[:, after - 1])
    return turnover(np.column_stack([gold[:, :after], there]), half, end_too=True).falls[0]
