"""Can a curve's KL be true? What the rise of its proxy demands at least, by Donsker and Varadhan.

For any policy and prompt, and any strength s, KL >= s (E_policy r - E_ref r) - log E_ref exp(s (r - E_ref r)). One
strength serves all prompts, so that the mean over prompts bounds the mean KL; E_ref is from the table of SFT answers to
the same prompts. The bound is reached by the exponential tilt of r itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Arm, Study
from rlhf_lab.functional.intervals import mean_and_se

Floats = NDArray[np.float64]

SES = 3.0  # paired by question, by which KL must lie below the bound for a warning


class Shortfall(NamedTuple):
    """Where a curve's KL is furthest below its bound, in standard errors."""

    point: int  # n, or optimiser steps
    kl: float  # nats
    bound: float  # nats
    ses: float  # (bound - kl) / SE; negative where KL is above

    @property
    def warns(self) -> bool:
        """Whether it is too far for chance."""
        return self.ses > SES


def shortfall(curves: Curves) -> Shortfall | None:
    """The worst of the points whose KL is held good; None where too few SFT answers to the same prompts are known."""
    if curves.needed is None:
        return None
    strengths, mean, cumulant = curves.needed
    gain = curves.values["proxy"] - mean[:, None]  # (C, K)
    bounds = np.outer(gain.mean(axis=0), strengths) - cumulant.mean(axis=0)  # (K, L)
    best = bounds.argmax(axis=1)
    excess = strengths[best] * gain - cumulant[:, best] - curves.kl  # (C, K)
    difference, se = mean_and_se(excess)
    ses = np.full(len(se), -np.inf)
    np.divide(difference, se, out=ses, where=curves.kl_good & (se > 0))
    worst = int(ses.argmax())
    kl = float(curves.kl[:, worst].mean())
    return Shortfall(int(curves.points[worst]), kl, kl + float(difference[worst]), float(ses[worst]))


def notes(study: Study) -> list[str]:
    """How many curves were checked, how many could not be, and a sentence for each whose KL cannot be true."""
    found = [
        (arm, seeds, shortfall(curves))
        for arm in study.arms
        for seeds, curves in zip(arm.seeds, arm.curves, strict=True)
    ]
    checked = [(arm, seeds, worst) for arm, seeds, worst in found if worst is not None]
    warnings = [_warning(arm, seeds, worst) for arm, seeds, worst in checked if worst.warns]
    counts = (
        f"KL against the least that the proxy's rise needs (Donsker-Varadhan): {len(checked)} of {len(found)} curves "
        f"checked, {len(warnings)} below it by more than {SES:g} SE"
    )
    if len(checked) < len(found):
        counts += f"; {len(found) - len(checked)} not checked for want of a table of SFT answers to the same prompts"
    return [counts, *warnings]


def _warning(arm: Arm, seeds: str, worst: Shortfall) -> str:
    return (
        f"WARNING: {arm.title}, seeds {seeds}: KL {worst.kl:.3g} nats at {worst.point} is {worst.ses:.1f} SE below the "
        f"{worst.bound:.3g} nats that its proxy needs: KL is understated there"
    )
