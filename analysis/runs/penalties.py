"""Arms of one method under penalties of several strengths: a coefficient of KL, or the `beta` of DPO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import PENALISED, Arm, Study, common_seeds
from analysis.runs.equal_kl import distance
from analysis.runs.naming import PENALTIES
from analysis.runs.rank_order import spearman
from analysis.statistics.resampling import weights_of
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]

SHORT = {"reverse_kl": "KL", "forward_kl": "forward KL", "sqrt_chi2": "root chi²"}
PLAIN_PENALTY = ("reverse_kl", "reward")  # that of Gao et al.: KL, subtracted from the reward


def penalised(study: Study) -> list[Arm]:
    """Every arm with a penalty that has an unpenalised arm to be compared with, small penalties first."""
    arms = [arm for arm in study.arms if arm.kind == PENALISED and unpenalised(study, arm) is not None]
    return sorted(
        arms,
        key=lambda arm: (arm.method, arm.parameters, kind(arm) != PLAIN_PENALTY, kind(arm), coefficient(arm)),
    )


def unpenalised(study: Study, arm: Arm) -> Arm | None:
    """The arm of the same method and reward without a penalty."""
    same = (one for one in study.of(arm.method) if (one.reward, one.policy) == (arm.reward, arm.policy))
    return next((one for one in same if not coefficient(one)), None)


def kind(arm: Arm) -> tuple[str, str]:
    """What is penalised, and where."""
    return arm.settings.get("divergence", "reverse_kl"), arm.settings.get("kl_place", "reward")


def coefficient(arm: Arm) -> float:
    """Of the penalty, SDs of the proxy per nat; 0 without one."""
    return float(arm.settings.get("kl_coef", 0.0))


def in_short(arm: Arm) -> str:
    """The penalty alone, for a legend or a row."""
    if not coefficient(arm):
        return "no penalty"
    divergence, place = kind(arm)
    return f"{SHORT.get(divergence, divergence)} {coefficient(arm):g}{' (loss)' if place == 'loss' else ''}"


def families(study: Study) -> dict[str, list[Arm]]:
    """Title -> the arms of one method, reward model and kind of penalty, the unpenalised first."""
    found: dict[str, list[Arm]] = {}
    for arm in penalised(study):
        first = unpenalised(study, arm)
        assert first is not None
        divergence, place = kind(arm)
        where = " in the loss" if place == "loss" else ""
        found.setdefault(f"{first.title}, {PENALTIES.get(divergence, divergence)}{where}", [first]).append(
            arm
        )
    return found


def falling(family: Sequence[Arm], number: Callable[[Arm, int], Floats]) -> Estimate | None:
    """Minus the rank correlation of the coefficient and a number (B,) of each run, in B draws of questions, within each
    replicate that all arms of a family have; None where there is none.
    """
    sizes = np.array([coefficient(arm) for arm in family])
    of = [
        np.stack([number(arm, arm.seeds.index(seeds)) for arm in family], axis=1)
        for seeds in common_seeds(family)
    ]  # (B, arms) of each replicate
    return Estimate.of(np.stack([-spearman(sizes, one) for one in of], axis=1)) if of else None


def end_kl(arm: Arm, replicate: int) -> Floats:
    """(B,): the root of KL at a replicate's last checkpoint."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return distance(arm.curves[replicate], weights, None)[:, -1]


# --- the last checkpoints over strengths ----------------------------------------------------------------------

FEWEST = 3  # strengths, of a maximum between others


def by_beta(study: Study, method: str) -> list[Arm]:
    """The arms of a method with a pull `beta` to the reference, the strongest pull first."""
    arms = [arm for arm in study.of(method) if "beta" in arm.settings]
    return sorted(arms, key=lambda arm: -arm.settings["beta"])


def finals(arms: Sequence[Arm]) -> Arm | None:
    """An arm whose first point is the initial policy and whose next are the last checkpoints of `arms`, in order.

    It has the replicates that all of them have; None where there is none.
    """
    seeds = common_seeds(arms)
    if not seeds:
        return None
    curves = tuple(_joined([arm.curves[arm.seeds.index(one)] for arm in arms]) for one in seeds)
    runs = tuple(arms[0].runs[arms[0].seeds.index(one)] for one in seeds)
    return replace(arms[0], label=arms[0].rm, seeds=tuple(seeds), curves=curves, runs=runs)


def peak_over_ends(ends: Floats, half: NDArray[np.bool_]) -> list[Estimate]:
    """Return how far the highest of `ends` (R, C, K), what K strengths end at, is above the last and the first of them.

    The peak is chosen on one half of the questions, and its height over both measured on the other.
    """
    return [turnover(order, half).estimate for order in (ends, ends[:, :, ::-1])]


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
