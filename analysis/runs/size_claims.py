"""What grows with the size of a reward model: gold at its peak, the KL there, and how little is lost after it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import Arm, common_seeds, title
from analysis.runs.gold_lost import split
from analysis.runs.rank_order import claim_size_order, peak_gold, peak_kl
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]


def claim_sizes(claims: ClaimTable, method: str, arms: Sequence[Arm]) -> None:
    """Make the claims about a method's arms on reward models of several sizes, which come from small to large."""
    if len(arms) < 2:
        return
    reach = "larger reward models reach higher gold"
    claim_size_order(claims, "size_order", title(method), reach, arms, peak_gold, "size order")
    apart = f"{reach}, the smallest of them aside,"
    claim_size_order(
        claims, "size_order_apart", title(method), apart, arms[1:], peak_gold, "without the smallest"
    )
    further = "gold peaks at a larger KL under larger reward models"
    claim_size_order(claims, "peak_kl_order", title(method), further, arms, peak_kl, "KL of the peak")
    for smaller, larger in pairwise(arms):
        sentence = f"gold peaks higher than under {smaller.reward}"
        claim_step(claims, larger, sentence, *(peak_gold(arm) for arm in of_same_seeds(larger, smaller)))
    claim_loses_less(claims, arms[0], arms[-1])


def of_same_seeds(*arms: Arm) -> list[Arm]:
    """Return the arms with the replicates that all of them have; each as it is where they share none."""
    seeds = common_seeds(arms)
    return [arm.of_seeds(seeds) for arm in arms] if seeds else list(arms)


def claim_step(claims: ClaimTable, arm: Arm, sentence: str, larger: Floats, smaller: Floats) -> None:
    """Claim that a number (B, R) of an arm is larger than that of the arm of the next smaller size."""
    paired = larger.shape == smaller.shape
    step = larger - smaller if paired else larger - smaller.mean(axis=1, keepdims=True)
    claims.above("size_step", arm.title, sentence, Estimate.of(step), arm.questions, "than the next smaller")


def claim_loses_less(claims: ClaimTable, smallest: Arm, largest: Arm) -> None:
    """Claim that gold falls from its peak to the end by less under the largest reward model than under the smallest."""
    small, large = of_same_seeds(smallest, largest)
    falls = [turnover(arm.stacked("gold"), split(arm)).falls for arm in (small, large)]
    if falls[0].shape != falls[1].shape:
        return
    claims.above(
        "loses_less",
        largest.title,
        f"gold falls less from its peak to the end than under {smallest.reward}",
        Estimate.of_questions(falls[0] - falls[1], split(small)),
        small.questions,
        "loses less",
    )
