"""Arms of one method under penalties of several strengths: a coefficient of KL, or the `beta` of DPO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs import naming
from analysis.runs.arms import PENALISED, Arm, Study, common_seeds
from analysis.runs.configuration import identity, is_a
from analysis.runs.equal_kl import root_kl
from analysis.runs.rank_order import spearman
from analysis.statistics.resampling import weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]

PLAIN_PENALTY = ("reverse_kl", "reward")  # that of Gao et al.: KL, subtracted from the reward
PENALTY = ("policy.kl_coef", "policy.divergence", "policy.kl_place", "policy.kl_target")
FEWEST = 3  # strengths of which one can have a maximum between the others


def penalised(study: Study) -> list[Arm]:
    """Return every arm with a penalty that has an unpenalised arm to be compared with, small penalties first."""

    def order(arm: Arm) -> tuple[Any, ...]:
        """Return the key that sorts arms by method, size, penalty and coefficient."""
        return arm.method, arm.parameters, kind(arm) != PLAIN_PENALTY, kind(arm), coefficient(arm)

    arms = [arm for arm in study.arms if arm.kind == PENALISED and unpenalised(study, arm) is not None]
    return sorted(arms, key=order)


def unpenalised(study: Study, arm: Arm) -> Arm | None:
    """Return the arm that differs from an arm in nothing but that it has no penalty; None if there is none."""
    own = identity(arm.runs[0], *PENALTY)
    for other in study.of(arm.method):
        if identity(other.runs[0], *PENALTY) == own and not coefficient(other):
            return other
    return None


def kind(arm: Arm) -> tuple[str, str]:
    """Return the divergence that is penalised, and where: in the reward or in the loss."""
    return arm.settings.get("divergence", "reverse_kl"), arm.settings.get("kl_place", "reward")


def coefficient(arm: Arm) -> float:
    """Return the coefficient of the penalty, SDs of the proxy per nat; 0 without one."""
    return float(arm.settings["kl_coef"]) if is_a(arm.runs[0], "policy", "Penalised") else 0.0


def short_title(arm: Arm) -> str:
    """Return the penalty alone, for a legend or a row."""
    if not coefficient(arm):
        return "no penalty"
    divergence, place = kind(arm)
    return f"{naming.penalty_legend(divergence)} {coefficient(arm):g}{' (loss)' if place == 'loss' else ''}"


def families(study: Study) -> dict[str, list[Arm]]:
    """Return, by title, the arms of one method, reward model and kind of penalty, the unpenalised first."""
    families: dict[str, list[Arm]] = {}
    for arm in penalised(study):
        first = unpenalised(study, arm)
        assert first is not None
        divergence, place = kind(arm)
        words = naming.penalty_title(divergence) + (" in the loss" if place == "loss" else "")
        families.setdefault(f"{first.title}, {words}", [first]).append(arm)
    return families


def falls_with_coefficient(family: Sequence[Arm], number: Callable[[Arm, int], Floats]) -> Estimate | None:
    """Return minus the rank correlation of the coefficient and a number (B,) of each run in B draws of questions.

    It is taken within each replicate that all arms of a family have; None where there is none.
    """
    coefficients = np.array([coefficient(arm) for arm in family])
    falls = []
    for seeds in common_seeds(family):
        numbers = np.stack([number(arm, arm.seeds.index(seeds)) for arm in family], axis=1)  # (B, arms)
        falls.append(-spearman(coefficients, numbers))
    return Estimate.of(np.stack(falls, axis=1)) if falls else None


def end_kl(arm: Arm, replicate: int) -> Floats:
    """(B,): the root of KL at a replicate's last checkpoint."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return root_kl(arm.curves[replicate], weights)[:, -1]


# --- the last checkpoints over strengths ------------------------------------------------------------------------


def by_beta(study: Study, method: str) -> list[Arm]:
    """Return the arms of a method with a pull `beta` to the reference, the strongest pull first."""
    arms = [arm for arm in study.of(method) if "beta" in arm.settings]
    return sorted(arms, key=lambda arm: -arm.settings["beta"])


def finals(arms: Sequence[Arm]) -> Arm | None:
    """Return an arm whose points are the initial policy and then the last checkpoints of `arms`, in order.

    It has the replicates that all of them have; None where there is none.
    """
    seeds = common_seeds(arms)
    if not seeds:
        return None
    members = [arm.of_seeds(seeds) for arm in arms]
    curves = tuple(_joined(strengths) for strengths in zip(*(arm.curves for arm in members), strict=True))
    return replace(members[0], label=members[0].rm, curves=curves)


def _joined(strengths: Sequence[Curves]) -> Curves:
    """The first point of the first curves, then the last of each."""
    first = strengths[0]
    if any(not np.array_equal(curves.questions, first.questions) for curves in strengths):
        raise ValueError("strengths of one method were evaluated on different questions")

    def join(values: Sequence[Floats]) -> Floats:
        """(C, S + 1): the start, then the end of each strength."""
        return np.column_stack([values[0][:, 0], *(of_strength[:, -1] for of_strength in values)])

    count = len(strengths) + 1
    return replace(
        first,
        points=np.arange(count),
        kl=join([curves.kl for curves in strengths]),
        kl_good=np.ones(count, dtype=bool),
        values={name: join([curves.values[name] for curves in strengths]) for name in first.values},
    )


def peak_over_ends(ends: Floats, half: NDArray[np.bool_]) -> list[Estimate]:
    """Return how far the highest of `ends` (R, C, K), what K strengths end at, is above the last and the first of them.

    The peak is chosen on one half of the questions, and its height over both measured on the other.
    """
    return [turnover(order, half).fall for order in (ends, ends[:, :, ::-1])]
