"""Rank correlations over runs: of a reward model's size, or another number of an arm, with what its runs reach.

A number of an arm is (B, R): of each replicate, first as it is and then in every draw of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from analysis.runs.arms import BEST_OF_N, DRAWS, SEED, Arm
from analysis.runs.gold_lost import split
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import Bootstrapped, original, resamples, weights_of
from analysis.statistics.turnover import peak_heights, peak_values

Floats = NDArray[np.float64]


class Order(NamedTuple):
    """Spearman's correlation over runs, with the bootstrap's draws."""

    rho: float
    draws: Floats
    arms: int
    runs: int
    replicates: int  # of the arm with the fewest

    def signed(self, sign: float = 1) -> Bootstrapped:
        """Return `sign` times the correlation, as claims and tables report it."""
        return Bootstrapped(sign * self.rho, sign * self.draws, self.replicates)


def parameters(arm: Arm) -> float:
    """Return the size of an arm's reward model."""
    return arm.parameters


def peak_gold(arm: Arm) -> Floats:
    """(B, R): gold of each replicate at the peak, in SDs above its start, in every draw of questions.

    The peak is chosen on one half of the questions and measured on the other, as `peak_heights` says.
    """
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return peak_heights(arm.stacked("gold"), split(arm), weights)


def peak_kl(arm: Arm) -> Floats:
    """(B, R): the KL of each replicate where gold peaks, in nats, in every draw of questions.

    The peak is chosen as in `peak_gold`: by the other replicates, on the other half of the questions.
    """
    weights = weights_of(arm.drawn.resamples, arm.questions)
    kl = np.stack([curves.kl for curves in arm.curves])
    return peak_values(arm.stacked("gold"), kl, split(arm), weights)


def order(arms: Sequence[Arm], first: Sequence[Any], second: Sequence[Any]) -> Order:
    """Return the rank correlation of two numbers of `arms`, each (B, R) or one for all replicates.

    Draws resample replicates within arms, and questions, which all arms share.
    """
    if len({arm.questions for arm in arms}) > 1:
        raise ValueError("arms were evaluated on different questions: their order cannot be drawn")
    rng = np.random.default_rng(SEED)
    drawn_first, drawn_second = [], []
    for arm, first_number, second_number in zip(arms, first, second, strict=True):
        count = len(arm.curves)
        replicates = np.stack([draw.replicates for draw in (original(count), *resamples(count, rng, DRAWS))])
        for drawn, number in ((drawn_first, first_number), (drawn_second, second_number)):
            values = np.broadcast_to(number, replicates.shape)
            drawn.append(np.take_along_axis(values, replicates, axis=1))
    rho = spearman(np.concatenate(drawn_first, axis=1), np.concatenate(drawn_second, axis=1))
    counts = [len(arm.curves) for arm in arms]
    return Order(float(rho[0]), rho[1:], len(arms), sum(counts), min(counts))


def size_order(
    arms: Sequence[Arm],
    number: Callable[[Arm], Floats] = peak_gold,
    size: Callable[[Arm], float] = parameters,
) -> Order:
    """Return the rank correlation of size and a `number` (B, R) of every replicate."""
    return order(arms, [size(arm) for arm in arms], [number(arm) for arm in arms])


def spearman(first: Floats, second: Floats) -> Floats:
    """(B,): correlation of the ranks of `first`, (M,) or (B, M), with those of each row of `second` (B, M).

    Ties have their mean rank; the correlation is NaN where all of a row tie.
    """
    ranks, others = (rankdata(values, axis=1) for values in (np.atleast_2d(first), second))
    ranks, others = (values - values.mean(axis=1, keepdims=True) for values in (ranks, others))
    with np.errstate(invalid="ignore"):
        return (ranks * others).sum(axis=1) / np.sqrt((ranks**2).sum(axis=1) * (others**2).sum(axis=1))


# --- claims and rows --------------------------------------------------------------------------------------------


def claim_order(
    claims: ClaimTable, key: str, subject: str, sentence: str, order: Order, topic: str, sign: float = 1
) -> None:
    """Claim that `sign` times a rank correlation is above the threshold of `key`, or above 0, by its 95 % interval.

    The thresholds of `key` name the fewest replicates and the fewest `sizes` or `arms` that decide the claim.
    """
    limits = claims.limits[key]
    threshold = float(limits.get("threshold", 0.0))
    above = f", above {threshold:g}" if threshold else ""
    claims.above(
        key,
        subject,
        f"{sentence} ({'' if sign > 0 else 'minus '}Spearman over runs{above})",
        order.signed(sign),
        order.runs,
        topic,
        threshold=threshold,
        unit="rank correlation",
        enough=order.arms >= limits.get("sizes", limits.get("arms", 0)),
    )


def claim_size_order(
    claims: ClaimTable,
    key: str,
    subject: str,
    sentence: str,
    arms: Sequence[Arm],
    number: Callable[[Arm], Floats],
    topic: str,
    sign: float = 1,
    size: Callable[[Arm], float] = parameters,
) -> None:
    """Claim that a number per replicate grows with size, or falls for `sign` -1; no claim about a single size."""
    if len({size(arm) for arm in arms}) > 1:
        claim_order(claims, key, subject, sentence, size_order(arms, number, size), topic, sign)


def order_row(rm: str, parameter: str, order: Order) -> dict[str, Any]:
    """Return a row of a table of estimates for best-of-n against reward models `rm`; its `n` counts runs."""
    named = {"method": BEST_OF_N, "rm": rm, "label": rm}
    return estimate_row(named, "rank correlation", parameter, order.signed(), order.runs, "n counts runs")
