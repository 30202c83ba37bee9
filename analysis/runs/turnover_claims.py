"""The claims of an overoptimization figure, rows 1 and 2 of the ranked figures: each from curves per
question.
"""

from __future__ import annotations

import numpy as np

from analysis.runs.arms import BEST_OF_N, CONTROL, FEW_PAIRS, MAIN, Arm, Study, title
from analysis.runs.gold_lost import difference_se, loss_at, split
from analysis.runs.naming import GOLD_SDS, PROXY_SDS
from analysis.runs.rank_order import order_claim, peak_gold
from analysis.statistics.claims import Claim, Thresholds, by_ses, exceeds, exceeds_by_ses
from analysis.statistics.turnover import Turnover, standard_error, turnover
from rlhf_lab.functional.intervals import conditional, wilson

TURNS = {  # claim -> number of the curves, its name, its name where gold has no parts, heading
    "gold_turns": ("gold", "gold", "gold", "gold turns"),
    "content_turns": ("content", "gold.content", "", "content turns"),
    "well_formed_turns": (
        "well_formed_content",
        "gold.content of well-formed answers",
        "gold of finished answers",
        "well-formed turns",
    ),
}


def claims(study: Study, limits: Thresholds) -> list[Claim]:
    """Every claim of the figure, arm by arm, then those about arms together."""
    found: list[Claim] = []
    for arm in study.arms:
        if arm.kind != CONTROL:
            found += _turns(arm, limits)
            found += _proxy(arm, limits)
            found += _beyond_drift(study, arm, limits)
    for method in study.methods:
        found += _most_turn(study, method, limits)
        found += _size_order(study, method, limits)
    return found


def _turns(arm: Arm, limits: Thresholds) -> list[Claim]:
    end = "the largest n claimed, N/2" if arm.method == BEST_OF_N else "the last checkpoint"
    found = []
    for name, (number, with_parts, without_parts, topic) in TURNS.items():
        called = with_parts if "content" in arm.curves[0].values else without_parts
        if not called:
            continue
        result = turnover(arm.stacked(number), split(arm))
        sentence = f"{arm.title}: {called} falls from its peak to {end}"
        found.append(
            by_ses(
                sentence,
                result.drop,
                result.se,
                limits[name],
                arm.questions,
                topic=topic,
                **_about(arm),
                unit=GOLD_SDS,
            )
        )
    return found


def _proxy(arm: Arm, limits: Thresholds) -> list[Claim]:
    """That the proxy rises, and, where that is no matter of construction, that it still does past gold's
    peak.
    """
    half, proxy = split(arm), arm.stacked("proxy")
    rise = proxy[:, :, -1] - proxy[:, :, 0]
    best_of_n = arm.method == BEST_OF_N
    found = [
        by_ses(
            f"{arm.title}: the proxy rises from the initial policy to the end",
            float(rise.mean()),
            standard_error(rise, half),
            limits["proxy_rises"],
            arm.questions,
            topic="proxy rises",
            **_about(arm),
            unit=PROXY_SDS,
            by_construction=best_of_n,
        )
    ]
    if best_of_n:
        return found
    peak = turnover(arm.stacked("gold"), half)
    place = peak.place(half)[:, :, None]
    past = proxy[:, :, -1] - np.take_along_axis(proxy, place, axis=2)[:, :, 0]
    found.append(
        by_ses(
            f"{arm.title}: the proxy rises from gold's peak to the last checkpoint",
            float(past.mean()),
            standard_error(past, half),
            limits["proxy_rises_past_peak"],
            arm.questions,
            topic="proxy rises past peak",
            **_about(arm),
            unit=PROXY_SDS,
        )
    )
    return found


def _beyond_drift(study: Study, arm: Arm, limits: Thresholds) -> list[Claim]:
    """Row 2: the loss against the drift control's at equal KL; best-of-n does not drift."""
    controls = study.of(arm.method, CONTROL)
    if arm.method == BEST_OF_N or not controls:
        return []
    control = next((other for other in controls if other.rm == arm.rm), controls[0])
    if not np.array_equal(control.curves[0].questions, arm.curves[0].questions):
        raise ValueError(
            f"{control.title} and {arm.title} were evaluated on different questions: no pairs to compare"
        )
    half = split(arm)
    reach = min(float(curves.normalised().kl.max()) for curves in (*arm.curves, *control.curves))
    lost, drifted = (
        np.stack([loss_at(curves, reach, half) for curves in one.curves]) for one in (arm, control)
    )  # (R, C) each
    drop = float(lost.mean() - drifted.mean())
    se = difference_se(lost, drifted)
    sentence = f"{arm.title}: gold lost since its peak exceeds what {control.label} loses, at KL {reach:.3g}"
    return [
        by_ses(
            sentence,
            drop,
            se,
            limits["loss_beyond_drift"],
            arm.questions,
            topic="loss beyond drift",
            **_about(arm, min(len(lost), len(drifted))),
            unit=GOLD_SDS,
        )
    ]


def _most_turn(study: Study, method: str, limits: Thresholds) -> list[Claim]:
    rule = limits["gold_turns"]
    runs: list[Turnover] = [
        turnover(curves, split(arm))
        for arm in study.of(method, MAIN, FEW_PAIRS)
        for curves in arm.stacked("gold")
    ]
    if not runs:
        return []
    turned = sum(exceeds_by_ses(run.drop, run.se, rule["ses"], rule["margin"]) is True for run in runs)
    interval, share = wilson(turned, len(runs)), limits["most_turn"]["share"]
    subject = title(method)
    return [
        Claim(
            claim=f"{subject}: gold turns in most runs ({turned} of {len(runs)} by the same rule)",
            measured=turned / len(runs),
            interval=interval,
            threshold=share,
            n=len(runs),
            replicates=len(runs),
            met=exceeds(interval, share),
            rule=f"met: Wilson's interval above {share:g}; not met: not above it",
            unit="share of runs",
            subject=subject,
            topic="runs that turn",
        )
    ]


def _size_order(study: Study, method: str, limits: Thresholds) -> list[Claim]:
    arms = [arm for arm in study.of(method, MAIN) if np.isfinite(arm.parameters)]
    subject = title(method)
    sentence = f"{subject}: larger reward models reach higher gold (Spearman over runs)"
    return order_claim(arms, peak_gold, sentence, limits["size_order"], subject=subject, topic="size order")


def _about(arm: Arm, replicates: int | None = None) -> dict[str, object]:
    count = len(arm.curves) if replicates is None else replicates
    return {"subject": arm.title, "replicates": count, "conditional": conditional(count)}
