"""The claims of the hedging figure: each from gold per replicate and question, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.best_of_n.hedge_tune import Tuned
from analysis.runs.arms import BEST_OF_N, HEDGED, Arm, Study
from analysis.runs.gold_lost import split
from analysis.runs.naming import GOLD_SDS
from analysis.statistics.claims import (
    Z95,
    Z95_ONE_SIDED,
    Claim,
    Thresholds,
    by_ses,
    equivalent,
    normal_interval,
)
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import conditional, mean_and_se

Floats = NDArray[np.float64]

LARGEST, BEST = "largest n", "best in hindsight"  # choices of n
D_POINTS = 20  # at which curves are compared at equal KL


def claims(study: Study, limits: Thresholds) -> list[Claim]:
    """Every claim, by method and reward model; best-of-n of the same reward model stands beside each."""
    plain = {same_runs(arm): arm for arm in study.of(BEST_OF_N)}
    found: list[Claim] = []
    for arm in study.arms:
        beside = plain.get(same_runs(arm))
        if beside is not None and arm is not beside:
            found += _of_arm(arm, beside, limits)
    return found


def same_runs(arm: Arm) -> tuple[str, str, tuple[str, ...]]:
    """What arms of different methods share that are made of the same reward models and tables."""
    return arm.rm, arm.kind, arm.seeds


def _of_arm(arm: Arm, plain: Arm, limits: Thresholds) -> list[Claim]:
    if arm.method.startswith(HEDGED):
        return [_beats_largest_n(arm, plain, limits), _regret(arm, plain, limits)]
    if arm.method == "best_of_poisson":
        return [_poisson_equals(arm, plain, limits)]
    if arm.method == "pessimism":
        return [_falls_less(arm, plain, limits)]
    if arm.method == "mbr_bon":
        return [_likeness_helps(arm, plain, limits)]
    return []


def _beats_largest_n(arm: Arm, plain: Arm, limits: Thresholds) -> Claim:
    gain = gold(arm)[:, :, -1] - gold(plain)[:, :, -1]
    sentence = f"{arm.title}: more gold than best-of-n at the largest n, on questions it saw no gold of"
    return _by_ses(sentence, gain, arm, limits["beats_largest_n"], "beats largest n")


def _regret(arm: Arm, plain: Arm, limits: Thresholds) -> Claim:
    regret = hindsight(plain) - gold(arm)[:, :, -1]
    sentence = f"{arm.title}: as much gold as best-of-n at its best in hindsight"
    return _equivalence(sentence, regret, arm, limits["regret"]["margin"], "regret")


def _poisson_equals(arm: Arm, plain: Arm, limits: Thresholds) -> Claim:
    sentence = f"{arm.title}: as much gold as best-of-n at equal KL"
    differences = equal_kl_difference(arm, plain)
    return _equivalence(
        sentence, differences, arm, limits["poisson_equals"]["margin"], "equals best-of-n at its KL"
    )


def _falls_less(arm: Arm, plain: Arm, limits: Thresholds) -> Claim:
    half = split(arm)
    lost = turnover(gold(plain), half).drops - turnover(gold(arm), half).drops
    sentence = f"{arm.title}: loses less gold from its peak to the largest n than best-of-n"
    return _by_ses(sentence, lost, arm, limits["pessimism_falls_less"], "falls less")


def _likeness_helps(arm: Arm, plain: Arm, limits: Thresholds) -> Claim:
    gain = gold(arm)[:, :, -1] - hindsight(plain)
    sentence = f"{arm.title}: more gold at the largest n than best-of-n at its best in hindsight"
    return _by_ses(sentence, gain, arm, limits["likeness_helps"], "beats best-of-n's best")


def gold(arm: Arm) -> Floats:
    """(R, C, K) in SDs of gold."""
    return arm.stacked("gold")


def hindsight(arm: Arm) -> Floats:
    """(R, C): gold of each question where the other half of the questions puts the peak."""
    half = split(arm)
    curves = gold(arm)
    place = turnover(curves, half).place(half)
    return np.take_along_axis(curves, place[:, :, None], axis=2)[:, :, 0]


def choices(study: Study) -> pd.DataFrame:
    """What each choice of a strength comes to: gold since the initial policy, with 95 % intervals, and the strength.

    One row per HedgeTune arm, and two of best-of-n for each reward model: its largest n, and its best in hindsight.
    """
    rows: list[dict[str, Any]] = []
    for arm in study.arms:
        start = gold(arm)[:, :, 0]
        if arm.method == BEST_OF_N:
            largest = float(arm.curves[0].points[-1])
            rows.append(_choice(arm, LARGEST, gold(arm)[:, :, -1] - start, [largest]))
            places = turnover(gold(arm), split(arm)).at.ravel()
            at = [float(n) for n in arm.curves[0].points[places]]
            rows.append(_choice(arm, BEST, hindsight(arm) - start, at))
        elif arm.method.startswith(HEDGED):
            found = [one.choice for one in arm.curves if isinstance(one, Tuned)]
            at, ends = [one.strength for one in found], sum(not one.root for one in found)
            rows.append(_choice(arm, "HedgeTune", gold(arm)[:, :, -1] - start, at))
            if ends:
                rows[-1]["note"] += f"; no root in {ends} of {len(found)} runs: an end of the range"
    return pd.DataFrame(rows)


def _choice(arm: Arm, form: str, gains: Floats, strengths: Sequence[float]) -> dict[str, Any]:
    mean, se = float(gains.mean()), paired_se(gains)
    return {
        "method": arm.method,
        "rm": arm.rm,
        "label": arm.label,
        "form": form,
        "parameter": "gold",
        "estimate": mean,
        "lo": mean - Z95 * se,
        "hi": mean + Z95 * se,
        "strength": float(np.median(strengths)),
        "strength_lo": min(strengths),
        "strength_hi": max(strengths),
        "n": gains.shape[1],
        "replicates": len(gains),
        "note": "interval conditional on these replicates"
        if conditional(len(gains))
        else "over replicates too",
    }


def equal_kl_difference(arm: Arm, other: Arm) -> Floats:
    """(R, C): gold of `arm` minus gold of `other`, each linear in d between points, averaged over d up to where both
    KL hold.
    """
    rows = []
    for one, two in zip(arm.curves, other.curves, strict=True):
        ends = [curves.normalised().d[curves.kl_good].max() for curves in (one, two)]
        at = np.linspace(0, min(ends), D_POINTS + 1)[1:]
        rows.append(_gold_at(one, at) - _gold_at(two, at))
    return np.stack(rows).mean(axis=2)


def _gold_at(curves: Curves, at: Floats) -> Floats:
    """(C, D): gold of each question at d `at` (D,) of the mean over questions."""
    d, values = curves.normalised().d, curves.by_question("gold")
    after = np.searchsorted(d, at).clip(1, len(d) - 1)
    share = (at - d[after - 1]) / (d[after] - d[after - 1])
    return values[:, after - 1] * (1 - share) + values[:, after] * share


def paired_se(differences: Floats) -> float:
    """SE of the mean of (R, C) over questions; five replicates or more add theirs."""
    variance = float(mean_and_se(differences.mean(axis=0))[1]) ** 2
    if not conditional(len(differences)):
        variance += float(mean_and_se(differences.mean(axis=1))[1]) ** 2
    return variance**0.5


def _by_ses(sentence: str, differences: Floats, arm: Arm, limits: Mapping[str, float], topic: str) -> Claim:
    mean, se = float(differences.mean()), paired_se(differences)
    return by_ses(sentence, mean, se, limits, differences.shape[1], unit=GOLD_SDS, topic=topic, **_about(arm))


def _equivalence(sentence: str, differences: Floats, arm: Arm, margin: float, topic: str) -> Claim:
    """The claim that a mean difference lies within `margin` of 0, by its 90 % interval."""
    interval = normal_interval(float(differences.mean()), paired_se(differences), Z95_ONE_SIDED)
    return Claim(
        claim=sentence,
        measured=float(differences.mean()),
        interval=interval,
        threshold=margin,
        n=differences.shape[1],
        met=equivalent(interval, -margin, margin),
        rule=f"met: 90 % interval within {margin:g} of 0; not met: outside",
        unit=GOLD_SDS,
        topic=topic,
        **_about(arm),
    )


def _about(arm: Arm) -> dict[str, Any]:
    count = len(arm.curves)
    return {"subject": arm.title, "replicates": count, "conditional": conditional(count)}
