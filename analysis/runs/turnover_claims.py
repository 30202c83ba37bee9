"""The claims of an overoptimization figure: gold turns, and the proxy rises on."""

from __future__ import annotations

import numpy as np

from analysis.runs.arms import BEST_OF_N, CONTROLS, FEW_PAIRS, MAIN, Arm, Study, title
from analysis.runs.gold_lost import split
from analysis.runs.goodhart import claim_goodhart
from analysis.runs.naming import PROXY_SDS
from analysis.runs.size_claims import claim_sizes
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import Turnover, turnover
from rlhf_lab.functional.intervals import Estimate, Rate

TURNS = {  # claim -> number of the curves, its name, its name where gold has no parts, topic
    "gold_turns": ("gold", "gold", "gold", "gold turns"),
    "content_turns": ("content", "gold.content", "", "content turns"),
    "well_formed_turns": (
        "well_formed_content",
        "gold.content of well-formed answers",
        "gold of finished answers",
        "well-formed turns",
    ),
}


def claim_overoptimization(claims: ClaimTable, study: Study) -> None:
    """Make every claim of the figure, arm by arm, then those about arms together."""
    for arm in study.arms:
        if arm.kind not in CONTROLS:
            claim_turns(claims, arm)
            claim_proxy_rises(claims, arm)
    claim_goodhart(claims, study)
    for method in study.methods:
        claim_most_turn(claims, study, method)
        sized = [arm for arm in study.of(method, MAIN) if np.isfinite(arm.parameters)]
        claim_sizes(claims, method, sized)


def claim_turns(claims: ClaimTable, arm: Arm) -> None:
    """Claim that gold, and each part of it that the curves have, turns."""
    for key, (number, with_parts, without_parts, topic) in TURNS.items():
        called = with_parts if "content" in arm.curves[0].values else without_parts
        if called:
            turn = turnover(arm.stacked(number), split(arm))
            claim_turn(claims, key, arm.title, called, turn, arm.questions, topic)


def claim_turn(
    claims: ClaimTable, key: str, subject: str, called: str, turn: Turnover, n: int, topic: str = "gold turns"
) -> None:
    """Claim that a number turns: it rises to a peak and falls from it, each by more than the threshold of `key`."""
    sentence = f"{called} rises to a peak and falls from it, each"
    claims.all_above(key, subject, sentence, [turn.rise, turn.fall], n, topic)


def claim_proxy_rises(claims: ClaimTable, arm: Arm) -> None:
    """Claim that the proxy rises, and that it still rises past gold's peak; best-of-n's does so by construction."""
    half, proxy = split(arm), arm.stacked("proxy")

    def claim(key: str, sentence: str, rise: np.ndarray, topic: str) -> None:
        """Add one claim about a rise of the proxy, from its values by replicate and question."""
        estimate = Estimate.of_questions(rise, half)
        by_construction = arm.method == BEST_OF_N
        claims.above(
            key,
            arm.title,
            sentence,
            estimate,
            arm.questions,
            topic,
            unit=PROXY_SDS,
            by_construction=by_construction,
        )

    sentence = "the proxy rises from the initial policy to the end"
    claim("proxy_rises", sentence, proxy[:, :, -1] - proxy[:, :, 0], "proxy rises")
    if arm.method != BEST_OF_N:
        peak = turnover(arm.stacked("gold"), half).place(half)[:, :, None]
        past = proxy[:, :, -1] - np.take_along_axis(proxy, peak, axis=2)[:, :, 0]
        sentence = "the proxy rises from gold's peak to the last checkpoint"
        claim("proxy_rises_past_peak", sentence, past, "proxy rises past peak")


def claim_most_turn(claims: ClaimTable, study: Study, method: str) -> None:
    """Claim that gold turns in most runs of a method, each run decided by the rule of `gold_turns`."""
    threshold, share = claims.limits["gold_turns"]["threshold"], claims.limits["most_turn"]["share"]
    turns = [
        turnover(curves, split(arm))
        for arm in study.of(method, MAIN, FEW_PAIRS)
        for curves in arm.stacked("gold")
    ]
    if not turns:
        return
    turned = sum(min(turn.rise.interval().lo, turn.fall.interval().lo) > threshold for turn in turns)
    claims.above(
        "most_turn",
        title(method),
        f"gold turns in most runs ({turned} of {len(turns)} by the same rule)",
        Rate(turned, len(turns), len(turns)),
        len(turns),
        "runs that turn",
        threshold=share,
        unit="share of runs",
    )
