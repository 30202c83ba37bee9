"""Arms of one method under several strengths, the last checkpoint of each taken as a point of one curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Arm, Study
from analysis.statistics.claims import Claim, both, exceeds_by_ses, normal_interval
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import conditional

Ints = NDArray[np.int64]

FEWEST = 3  # strengths, of a maximum between others


def by_beta(study: Study, method: str) -> list[Arm]:
    """The arms of a method with a pull `beta` to the reference, the strongest pull first."""
    arms = [arm for arm in study.of(method) if "beta" in arm.settings]
    return sorted(arms, key=lambda arm: -arm.settings["beta"])


def common(arms: Sequence[Arm]) -> list[str]:
    """The seeds of the replicates that all arms have."""
    return [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in arms)]


def finals(arms: Sequence[Arm]) -> Arm | None:
    """An arm whose first point is the initial policy and whose next are the last checkpoints of `arms`, in order.

    It has the replicates that all of them have; None where there is none.
    """
    seeds = common(arms)
    if not seeds:
        return None
    curves = tuple(_joined([arm.curves[arm.seeds.index(one)] for arm in arms]) for one in seeds)
    runs = tuple(arms[0].runs[arms[0].seeds.index(one)] for one in seeds)
    return replace(arms[0], label=arms[0].rm, seeds=tuple(seeds), curves=curves, runs=runs)


def interior_maximum(
    sentence: str,
    ends: NDArray[np.float64],
    half: NDArray[np.bool_],
    rule: Mapping[str, float],
    **about: Any,
) -> Claim:
    """The claim that `ends` (R, C, K), what each of K strengths ends at, are highest between the first and the last.

    The peak is chosen on one half of the questions, its height over both outermost strengths measured on the other.
    """
    over = [turnover(one, half) for one in (ends, ends[:, :, ::-1])]
    over_last, over_first = (exceeds_by_ses(one.drop, one.se, rule["ses"], rule["margin"]) for one in over)
    lower = min(over, key=lambda one: one.drop)
    return Claim(
        claim=sentence,
        measured=lower.drop,
        interval=normal_interval(lower.drop, lower.se),
        threshold=rule["ses"] * lower.se,
        n=ends.shape[1],
        replicates=len(ends),
        met=both(over_last, over_first),
        rule=f"met: the peak >= {rule['ses']:g} SE above either end; not met: the upper 95 % bound of "
        f"either below {rule['margin']:g}",
        conditional=conditional(len(ends)),
        **about,
    )


def _joined(parts: Sequence[Curves]) -> Curves:
    first = parts[0]
    if any(not np.array_equal(one.questions, first.questions) for one in parts):
        raise ValueError("strengths of one method were evaluated on different questions")

    def points(of: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.column_stack([of[0][:, 0], *(one[:, -1] for one in of)])

    count = len(parts) + 1
    return replace(
        first,
        points=np.arange(count),
        kl=points([one.kl for one in parts]),
        kl_good=np.ones(count, dtype=bool),
        values={name: points([one.values[name] for one in parts]) for name in first.values},
    )
