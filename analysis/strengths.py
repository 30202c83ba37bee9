"""Arms of one method under several strengths, the last checkpoint of each taken as a point of one curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.arms import Arm, Study
from analysis.curves import Curves

Ints = NDArray[np.int64]


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
