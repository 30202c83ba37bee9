"""Checks of a figure's runs: whether their KL is possible, and whether the same code made them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Arm, Study
from rlhf_lab.functional.intervals import mean_and_se
from rlhf_lab.store.records import Run

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


def kl_bound_notes(study: Study) -> list[str]:
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


# --- provenance -----------------------------------------------------------------------------------------------

NAMED = 3  # runs named of each kind


Values = dict[tuple[str, str, str], dict[str, list[str]]]  # role, stage, what -> value -> keys of the runs
SOURCE = "source"


class Mixture(NamedTuple):
    """What the made runs of a figure do not have in common."""

    unlike: (
        str  # in one line: stages that differ in VERSION or packages, and in which runs; empty if none does
    )
    sources: list[str]  # stages that not all runs have from the same state of the source code


def mixture(runs: Sequence[Run]) -> Mixture:
    """How the made runs differ from each other."""
    stages: dict[str, list[str]] = {}  # a difference in words -> the stages that have it
    sources: set[str] = set()
    for (_, stage, what), found in _values(runs).items():
        if len(found) > 1 and what == SOURCE:
            sources.add(stage)
        elif len(found) > 1:
            said = " and ".join(f"{what} {value} ({_some(keys)})" for value, keys in sorted(found.items()))
            stages.setdefault(said, []).append(stage)
    unlike = (f"{', '.join(dict.fromkeys(names))} by {said}" for said, names in stages.items())
    return Mixture("; ".join(unlike), sorted(sources))


def _values(runs: Sequence[Run]) -> Values:
    values: Values = {}
    for run in (run for run in runs if run.status == "made"):
        computed = {role: made for role, made in run.made_by().items() if role}  # the leaf computes nothing
        for role, manifest in computed.items():
            for what, value in _facts(manifest).items():
                stage = str(manifest["stage"]).rpartition(".")[2]
                values.setdefault((role, stage, what), {}).setdefault(value, []).append(run.key[:8])
    return values


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    made = manifest["provenance"]
    packages = {name: version or "(none)" for name, version in made.get("packages", {}).items()}
    return {"VERSION": str(manifest["version"]), SOURCE: made.get("source", "(unknown)"), **packages}


def _some(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"run {keys[0]}"
    return f"{len(keys)} runs: {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}"
