"""Arms that differ in what is penalised and how much, in families of one kind of penalty and the unpenalised arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import PENALISED, Arm, Study
from analysis.runs.by_strength import common
from analysis.runs.equal_kl import distance
from analysis.runs.naming import PENALTIES
from analysis.runs.turnover_claims import spearman
from analysis.statistics.resampling import weights_of
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
    return f"{SHORT[divergence]} {coefficient(arm):g}{' (loss)' if place == 'loss' else ''}"


def families(study: Study) -> dict[str, list[Arm]]:
    """Title -> the arms of one method, reward model and kind of penalty, the unpenalised first."""
    found: dict[str, list[Arm]] = {}
    for arm in penalised(study):
        first = unpenalised(study, arm)
        assert first is not None
        divergence, place = kind(arm)
        where = " in the loss" if place == "loss" else ""
        found.setdefault(f"{first.title}, {PENALTIES[divergence]}{where}", [first]).append(arm)
    return found


def falling(family: Sequence[Arm], number: Callable[[Arm, int], Floats]) -> Estimate | None:
    """Minus the rank correlation of the coefficient and a number (B,) of each run, in B draws of questions, within each
    replicate that all arms of a family have; None where there is none.
    """
    sizes = np.array([coefficient(arm) for arm in family])
    of = [
        np.stack([number(arm, arm.seeds.index(seeds)) for arm in family], axis=1) for seeds in common(family)
    ]  # (B, arms) of each replicate
    return Estimate.of(np.stack([-spearman(sizes, one) for one in of], axis=1)) if of else None


def end_kl(arm: Arm, replicate: int) -> Floats:
    """(B,): the root of KL at a replicate's last checkpoint."""
    weights = weights_of(arm.drawn.resamples, arm.questions)
    return distance(arm.curves[replicate], weights, None)[:, -1]
