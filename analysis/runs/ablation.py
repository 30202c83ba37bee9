"""Arms whose reward differs in one respect, each against the plain one: gold at the end, gold lost, gold at equal KL.

Runs are paired by seeds: the first member of an ensemble is the single reward model of the same replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.runs import naming
from analysis.runs.arms import BEST_OF_N, Arm, Study, unlike_in
from analysis.runs.equal_kl import Difference, difference, pairs, path
from analysis.runs.gold_lost import split
from analysis.runs.kinds import WITHOUT_REWARD_MODEL
from analysis.runs.rank_order import peak_kl
from analysis.runs.tables import estimate_row, with_interval
from analysis.statistics.claims import ClaimTable
from analysis.statistics.resampling import weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Rule = Mapping[str, float]

RULE, SHAPING = "rm_combination", "reward_shaping"  # config groups in which arms are compared
WORDS: dict[str, Callable[[Run], str]] = {
    RULE: naming.combination,
    SHAPING: naming.shaping,
    "labeler": naming.labels,
    "intervention": naming.intervention,
}
IN_A_SENTENCE = {
    RULE: "a single reward model",
    SHAPING: "the reward without shaping",
    "labeler": "clean labels",
    "intervention": "no intervention",
}
UNNAMED = {RULE: "single", SHAPING: "no shaping", "labeler": "clean labels", "intervention": "nothing"}


class Versus(NamedTuple):
    """One arm minus the plain one, in SDs of gold."""

    arm: Arm
    plain: Arm
    end: Estimate  # gold at the largest n or the last checkpoint
    spared: Estimate  # what the plain one loses from its peak to its end minus what this one loses
    equal_kl: Difference | None  # None where the method chooses from a table: n is the same, and KL nearly


def name(arm: Arm, group: str) -> str:
    """Return the option of a config group that an arm has, in words."""
    return WORDS[group](arm.runs[0]) or UNNAMED[group]


def in_a_sentence(arm: Arm, group: str) -> str:
    """Return the option as a sentence names it; the plain option has a longer name there."""
    return WORDS[group](arm.runs[0]) or IN_A_SENTENCE[group]


def is_plain(arm: Arm, group: str) -> bool:
    """Return whether an arm has the plain option of a config group."""
    return not WORDS[group](arm.runs[0])


def conditions(arms: Sequence[Arm], group: str) -> list[list[Arm]]:
    """Return groups of arms that differ in a config group alone, the plain arm first; no group lacks it.

    Controls without a reward model are in no group.
    """
    learned = [arm for arm in arms if arm.kind not in WITHOUT_REWARD_MODEL]
    plain_first = sorted(learned, key=lambda arm: not is_plain(arm, group))
    return [alike for alike in unlike_in(plain_first, group, "score") if is_plain(alike[0], group)]


def compared(study: Study, group: str) -> list[Versus]:
    """Return every arm against the plain one that differs from it in the config group alone and has its seeds."""
    return [
        versus(arm, plain)
        for plain, *others in conditions(study.arms, group)
        for arm in others
        if pairs(arm, plain)
    ]


def versus(arm: Arm, plain: Arm) -> Versus:
    """Return the differences of an arm to a plain one, paired by seeds and by question."""
    places = pairs(arm, plain)
    mine, its = ends(arm), ends(plain)
    lost, its_lost = losses(arm), losses(plain)
    end = np.stack([mine[:, i] - its[:, j] for i, j in places], axis=1)
    spared = np.stack([its_lost[:, j] - lost[:, i] for i, j in places], axis=1)
    at_kl = None if arm.chooses else difference(arm, plain, "gold")
    return Versus(arm, plain, Estimate.of(end), Estimate.of(spared), at_kl)


def ends(arm: Arm) -> Floats:
    """Return (B, R), gold at the last point of each replicate, first of all questions and then in every draw."""
    return np.stack([path(arm, i, "gold").values[:, -1] for i in range(len(arm.curves))], axis=1)


def losses(arm: Arm) -> Floats:
    """Return (B, R), gold at the peak minus gold at the end; the halves of the questions choose each other's peaks."""
    drops = turnover(arm.stacked("gold"), split(arm)).falls
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return weights @ drops.T / weights.sum(axis=1, keepdims=True)


# --- claims -------------------------------------------------------------------------------------------------


def end_of(arm: Arm) -> str:
    """Return the last point of an arm's curves in words."""
    return f"n = {arm.curves[0].points[-1]}" if arm.method == BEST_OF_N else "the last checkpoint"


def claim_above(claims: ClaimTable, versus: Versus, group: str) -> None:
    """Make the three claims of an arm against the plain one: more gold at the end and at equal KL, less gold lost."""
    claim_above_at_end(claims, versus, group)
    claim_above_at_equal_kl(claims, versus, group)
    claim_loses_less(claims, versus, group)


def claim_above_at_end(claims: ClaimTable, versus: Versus, group: str) -> None:
    """Claim `above_at_end`: gold at the end is higher than the plain arm's."""
    arm, plain = versus.arm, versus.plain
    sentence = f"gold at {end_of(arm)} is higher than with {in_a_sentence(plain, group)}"
    topic = f"above {name(plain, group)} at the end"
    claims.above("above_at_end", arm.title, sentence, versus.end, arm.questions, topic)


def claim_loses_less(claims: ClaimTable, versus: Versus, group: str) -> None:
    """Claim `loses_less`: gold falls less from its own peak than the plain arm's from its own."""
    arm, plain = versus.arm, versus.plain
    sentence = f"gold falls less from its peak to {end_of(arm)} than with {in_a_sentence(plain, group)}"
    topic = f"loses less than {name(plain, group)}"
    claims.above("loses_less", arm.title, sentence, versus.spared, arm.questions, topic)


def claim_above_at_equal_kl(claims: ClaimTable, versus: Versus, group: str) -> None:
    """Claim `above_at_equal_kl`: gold at equal KL is higher. A method that chooses from a table has no such claim.

    It is undecided where the KL that both reach lies before the peak of the plain arm, which is to be improved on.
    """
    arm, plain, at_kl = versus.arm, versus.plain, versus.equal_kl
    if at_kl is None:
        return
    reach = f"{at_kl.reach.mean():.2g} nats"
    sentence = f"gold at equal KL, up to {reach}, is higher than with {in_a_sentence(plain, group)}"
    topic = f"above {name(plain, group)} at equal KL"
    past_peak = bool(at_kl.reach.mean() > peak_kl(plain)[0].mean())
    claims.above(
        "above_at_equal_kl", arm.title, sentence, at_kl.estimate, arm.questions, topic, enough=past_peak
    )


def claim_nothing_lost(claims: ClaimTable, arm: Arm) -> None:
    """Claim `nothing_lost`: gold does not fall from its peak to the end by more than the margin."""
    claims.equivalent(
        "nothing_lost",
        arm.title,
        f"gold does not fall from its peak to {end_of(arm)}",
        Estimate.of(losses(arm)),
        arm.questions,
        "no loss from the peak",
        lo=-np.inf,
    )


# --- tables -------------------------------------------------------------------------------------------------


def differences_table(arms: Sequence[Arm], compared: Sequence[Versus], group: str) -> pd.DataFrame:
    """Return what every arm loses from its peak, then each arm minus the plain one, with 95 % intervals."""

    def row(arm: Arm, parameter: str, estimate: Estimate) -> dict[str, Any]:
        """Return the row of one difference, in SDs of gold."""
        return estimate_row(arm, "paired by seeds", parameter, estimate, unit="SDs of gold")

    rows = [row(arm, "gold lost from the peak to the end", Estimate.of(losses(arm))) for arm in arms]
    for versus in compared:
        plain = name(versus.plain, group)
        rows.append(row(versus.arm, f"gold at the end minus {plain}", versus.end))
        rows.append(row(versus.arm, f"gold lost by {plain} minus gold lost", versus.spared))
        if versus.equal_kl is not None:
            at_equal_kl = row(versus.arm, f"gold at equal KL minus {plain}", versus.equal_kl.estimate)
            rows.append(at_equal_kl | {"reach_kl": float(versus.equal_kl.reach.mean())})
    return pd.DataFrame(rows)


def contested(arms: Sequence[Arm]) -> list[str]:
    """Return a note of what was measured where papers disagree, beside the answers of both."""
    measured = "; ".join(f"{arm.title} {with_interval(Estimate.of(losses(arm)))}" for arm in arms)
    return [
        "do ensembles eliminate overoptimization? Under best-of-n the minimum and UWO do (Coste et al. 2023); "
        "they mitigate it, as errors that members share survive (Eisenstein et al. 2023). "
        f"Lost here from the peak to the end, SDs of gold: {measured}"
    ]
