"""The claims of an overoptimization figure: gold turns, the proxy rises on, and more is lost than by drift."""

from __future__ import annotations

import numpy as np

from analysis.runs.arms import BEST_OF_N, CONTROL, FEW_PAIRS, MAIN, Arm, Study, title
from analysis.runs.gold_lost import difference_se, loss_at, split
from analysis.runs.naming import PROXY_SDS
from analysis.runs.rank_order import claim_size_order, peak_gold
from analysis.statistics.claims import ClaimTable, exceeds, exceeds_by_ses
from analysis.statistics.turnover import standard_error, turnover
from rlhf_lab.functional.intervals import Estimate, wilson

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
        if arm.kind != CONTROL:
            claim_turns(claims, arm)
            claim_proxy_rises(claims, arm)
            claim_loss_beyond_drift(claims, study, arm)
    for method in study.methods:
        claim_most_turn(claims, study, method)
        sized = [arm for arm in study.of(method, MAIN) if np.isfinite(arm.parameters)]
        sentence = "larger reward models reach higher gold"
        claim_size_order(claims, "size_order", title(method), sentence, sized, peak_gold, "size order")


def claim_turns(claims: ClaimTable, arm: Arm) -> None:
    """Claim that gold, and each part of it that the curves have, falls from its peak to the end."""
    end = "the largest n claimed, N/2" if arm.method == BEST_OF_N else "the last checkpoint"
    for key, (number, with_parts, without_parts, topic) in TURNS.items():
        called = with_parts if "content" in arm.curves[0].values else without_parts
        if called:
            fall = turnover(arm.stacked(number), split(arm)).estimate
            sentence = f"{called} falls from its peak to {end}"
            claims.exceeds_by_ses(key, arm.title, sentence, fall, arm.questions, topic)


def claim_proxy_rises(claims: ClaimTable, arm: Arm) -> None:
    """Claim that the proxy rises, and that it still rises past gold's peak; best-of-n's does so by construction."""
    half, proxy = split(arm), arm.stacked("proxy")

    def claim(key: str, sentence: str, rise: np.ndarray, topic: str) -> None:
        estimate = Estimate(float(rise.mean()), standard_error(rise, half), np.inf, len(rise))
        by_construction = arm.method == BEST_OF_N
        claims.exceeds_by_ses(
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


def claim_loss_beyond_drift(claims: ClaimTable, study: Study, arm: Arm) -> None:
    """Claim that an arm loses more gold than the drift control at equal KL; best-of-n does not drift."""
    controls = study.of(arm.method, CONTROL)
    if arm.method == BEST_OF_N or not controls:
        return
    control = next((other for other in controls if other.rm == arm.rm), controls[0])
    if not np.array_equal(control.curves[0].questions, arm.curves[0].questions):
        raise ValueError(
            f"{control.title} and {arm.title} were evaluated on different questions, so they cannot be paired"
        )
    reach = min(float(curves.normalised().kl.max()) for curves in (*arm.curves, *control.curves))
    lost, drifted = (
        np.stack([loss_at(curves, reach, split(arm)) for curves in either.curves])
        for either in (arm, control)
    )  # (R, C) each
    more = float(lost.mean() - drifted.mean())
    estimate = Estimate(more, difference_se(lost, drifted), np.inf, min(len(lost), len(drifted)))
    sentence = (
        f"gold falls further from its peak than under the drift control ({control.label}), at KL {reach:.3g}"
    )
    claims.exceeds_by_ses(
        "loss_beyond_drift", arm.title, sentence, estimate, arm.questions, "loss beyond drift"
    )


def claim_most_turn(claims: ClaimTable, study: Study, method: str) -> None:
    """Claim that gold turns in most runs of a method, each run decided by the rule of `gold_turns`."""
    rule, share = claims.limits["gold_turns"], claims.limits["most_turn"]["share"]
    falls = [
        turnover(curves, split(arm))
        for arm in study.of(method, MAIN, FEW_PAIRS)
        for curves in arm.stacked("gold")
    ]
    if not falls:
        return
    turned = sum(exceeds_by_ses(run.drop, run.se, rule["ses"], rule["margin"]) is True for run in falls)
    interval = wilson(turned, len(falls))
    claims.add(
        "most_turn",
        title(method),
        f"gold turns in most runs ({turned} of {len(falls)} by the same rule)",
        Estimate(turned / len(falls), np.nan, np.inf, len(falls)),
        len(falls),
        "runs that turn",
        interval=interval,
        threshold=share,
        met=exceeds(interval, share),
        rule=f"met: Wilson's 95 % interval above {share:g}; not met: below it; else undecided",
        unit="share of runs",
        conditional=False,
    )
