"""The claims of an overoptimization figure, rows 1 and 2 of the ranked figures: each from curves per
question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs import arms as naming
from analysis.runs.arms import BEST_OF_N, CONTROL, DRAWS, FEW_PAIRS, MAIN, SEED, Arm, Study
from analysis.statistics.claims import Claim, Thresholds, by_ses, exceeds, exceeds_by_ses
from analysis.statistics.resampling import original, percentile_interval, resamples
from analysis.statistics.turnover import Turnover, halves, standard_error, turnover
from rlhf_lab.functional.intervals import conditional, paired_difference, wilson

Floats = NDArray[np.float64]

GOLD_SDS, PROXY_SDS = "SDs of gold on the initial policy", "SDs of the proxy within a prompt, initial policy"
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


def split(arm: Arm) -> NDArray[np.bool_]:
    """(C,): the half of the questions on which one peak is chosen; the same for arms with the same
    questions.
    """
    return halves(arm.questions, np.random.default_rng(SEED))


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


def loss_at(curves: Curves, reach: float, half: NDArray[np.bool_], kl: Floats | None = None) -> Floats:
    """(C,): gold of each question at the peak before KL = `reach` nats minus its gold there, linear in d
    between; `kl` (K,) takes the place of the run's own.
    """
    d, gold = curves.normalised().d if kl is None else np.sqrt(kl), curves.by_question("gold")
    target = np.sqrt(reach)
    after = max(int(np.argmax(d >= target - 1e-9)), 1)
    share = (target - d[after - 1]) / (d[after] - d[after - 1])
    there = gold[:, after - 1] + share * (gold[:, after] - gold[:, after - 1])
    return turnover(np.column_stack([gold[:, :after], there]), half).drops[0]


def difference_se(first: Floats, second: Floats) -> float:
    """SE of mean(first) - mean(second), (R, C) and (R', C), paired by question; over replicates where there
    are five.
    """
    _, se = paired_difference(first.mean(axis=0), second.mean(axis=0))
    variance = se**2
    for values in (first, second):
        if not conditional(len(values)):
            variance += values.mean(axis=1).var(ddof=1) / len(values)
    return float(np.sqrt(variance))


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
    title = naming.title(method)
    return [
        Claim(
            claim=f"{title}: gold turns in most runs ({turned} of {len(runs)} by the same rule)",
            measured=turned / len(runs),
            interval=interval,
            threshold=share,
            n=len(runs),
            replicates=len(runs),
            met=exceeds(interval, share),
            rule=f"met: Wilson's interval above {share:g}; not met: not above it",
            unit="share of runs",
            subject=title,
            topic="runs that turn",
        )
    ]


class SizeOrder(NamedTuple):
    """Spearman's correlation of size and a number over runs, with the bootstrap's draws."""

    rho: float
    draws: Floats


def _size_order(study: Study, method: str, limits: Thresholds) -> list[Claim]:
    arms = [arm for arm in study.of(method, MAIN) if np.isfinite(arm.parameters)]
    title = naming.title(method)
    sentence = f"{title}: larger reward models reach higher gold (Spearman over runs)"
    return order_claim(arms, peak_gold, sentence, limits["size_order"], subject=title, topic="size order")


def parameters(arm: Arm) -> float:
    """The size of an arm's reward model."""
    return arm.parameters


def order_claim(
    arms: Sequence[Arm],
    number: Callable[[Arm], Floats],
    sentence: str,
    rule: Mapping[str, float],
    sign: float = 1.0,
    size: Callable[[Arm], float] = parameters,
    **more: Any,
) -> list[Claim]:
    """That `sign` times the rank correlation of size and a number per replicate is above 0; none for one size."""
    if len({size(arm) for arm in arms}) < 2:
        return []
    order = size_order(arms, number, size)
    interval = percentile_interval(sign * order.draws)
    replicates = min(len(arm.curves) for arm in arms)
    enough = replicates >= rule["replicates"] and len(arms) >= rule["sizes"]
    return [
        Claim(
            claim=sentence,
            measured=sign * order.rho,
            interval=interval,
            threshold=0.0,
            n=sum(len(arm.curves) for arm in arms),
            replicates=replicates,
            met=exceeds(interval, 0.0) if enough else None,
            rule=f"met: interval above 0; not met: not above 0; undecided under "
            f"{rule['replicates']:g} replicates of {rule['sizes']:g} sizes",
            unit="rank correlation",
            conditional=conditional(replicates),
            **more,
        )
    ]


def peak_gold(arm: Arm) -> Floats:
    """(B, R): the highest gold of each replicate in every draw of questions."""
    return np.stack([one.values["gold"].max(axis=1) for one in arm.drawn.replicates], axis=1)


def size_order(
    arms: Sequence[Arm],
    number: Callable[[Arm], Floats] = peak_gold,
    size: Callable[[Arm], float] = parameters,
) -> SizeOrder:
    """The rank correlation of size and a `number` (B, R) of every replicate; draws resample replicates within size,
    and questions.
    """
    if len({arm.questions for arm in arms}) > 1:
        raise ValueError("reward-model sizes were evaluated on different questions: no order to speak of")
    rng = np.random.default_rng(SEED)
    sizes = np.repeat([size(arm) for arm in arms], [len(arm.curves) for arm in arms])
    numbers = []
    for arm in arms:  # every arm draws the same questions, and replicates of its own
        taken = [original(len(arm.curves)), *resamples(len(arm.curves), rng, DRAWS)]
        numbers.append(np.take_along_axis(number(arm), np.stack([draw.replicates for draw in taken]), axis=1))
    rho = spearman(sizes, np.concatenate(numbers, axis=1))
    return SizeOrder(float(rho[0]), rho[1:])


def spearman(first: Floats, second: Floats) -> Floats:
    """(B,): correlation of the ranks of `first`, (M,) or (B, M), with those of each row of `second` (B, M), ties at
    their mean rank.
    """
    one, other = _ranks(np.atleast_2d(first)), _ranks(second)
    one, other = one - one.mean(axis=1, keepdims=True), other - other.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # NaN where all tie
        return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


def _ranks(values: Floats) -> Floats:
    """(B, M): of each row, how many of its values are smaller, ties by half."""
    mine, others = values[:, :, None], values[:, None, :]
    return (others < mine).sum(axis=2) + 0.5 * (others == mine).sum(axis=2)


def _about(arm: Arm, replicates: int | None = None) -> dict[str, object]:
    count = len(arm.curves) if replicates is None else replicates
    return {"subject": arm.title, "replicates": count, "conditional": conditional(count)}
