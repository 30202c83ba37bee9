"""Checks of a figure's runs: whether their KL is possible, and whether the same code made them all.

For any policy and prompt, and any strength s, KL >= s (E_policy r - E_ref r) - log E_ref exp(s (r - E_ref r))
(Donsker and Varadhan). One strength serves all prompts, so that the mean over prompts bounds the mean KL; E_ref is from
the table of SFT answers to the same prompts. The exponential tilt of r itself reaches the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from analysis.best_of_n.curves import Curves
from analysis.runs.arms import Study
from rlhf_lab.functional.intervals import mean_and_se
from rlhf_lab.store.records import Run

SES = 3.0  # by how many SE, paired by question, KL must lie below the bound for a warning
LISTED = 3  # runs that a difference of provenance lists
SOURCE = "source"


class Shortfall(NamedTuple):
    """The point of a curve whose KL is furthest below its bound, in standard errors."""

    point: int  # n, or optimiser steps
    kl: float  # nats
    bound: float  # nats
    ses: float  # (bound - kl) / SE; negative where KL is above

    @property
    def warns(self) -> bool:
        """Whether KL is too far below for chance."""
        return self.ses > SES


def shortfall(curves: Curves) -> Shortfall | None:
    """Return the worst of the points whose KL is held good; None where too few SFT answers to the prompts are known."""
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


def run_notes(study: Study) -> list[str]:
    """Return a note of how many curves were checked, and warnings of KL that cannot be true and of diverged models."""
    total, checked, warnings = 0, 0, []
    for arm in study.arms:
        for seeds, curves in zip(arm.seeds, arm.curves, strict=True):
            worst = shortfall(curves)
            total += 1
            checked += worst is not None
            if worst is not None and worst.warns:
                warnings.append(
                    f"WARNING: {arm.title}, seeds {seeds}: KL {worst.kl:.3g} nats at {worst.point} is "
                    f"{worst.ses:.1f} SE below the {worst.bound:.3g} nats that its proxy needs: KL is understated there"
                )
    counts = (
        f"KL against the least that the proxy's rise needs (Donsker-Varadhan): {checked} of {total} curves "
        f"checked, {len(warnings)} below it by more than {SES:g} SE"
    )
    if checked < total:
        counts += f"; {total - checked} not checked for want of a table of SFT answers to the same prompts"
    return [counts, *warnings, *diverged_notes(study)]


# --- reward models ----------------------------------------------------------------------------------------------

DIVERGED = 5 * float(np.log(2))  # held-out log-loss in nats; a reward model that knows nothing has log 2


def diverged_notes(study: Study) -> list[str]:
    """Return a warning that names the runs whose reward model diverged while it was trained, if there are any."""
    losses: dict[str, float] = {}
    for run in (run for arm in study.arms for run in arm.runs):
        try:
            losses[run.key[:8]] = float(run.evaluation("proxy")["all"]["log_loss"])
        except (KeyError, OSError, ValueError):  # no single reward model, or its record is gone
            continue
    diverged = {key: loss for key, loss in losses.items() if not loss <= DIVERGED}
    if not diverged:
        return []
    named = ", ".join(f"{key} ({loss:.3g} nats)" for key, loss in list(diverged.items())[:LISTED])
    return [
        f"WARNING: the reward model diverged in {len(diverged)} of {len(losses)} runs, by its held-out log-loss, which "
        f"is {np.log(2):.2f} nats for one that knows nothing: {named}{', ...' if len(diverged) > LISTED else ''}: "
        "lower rm.lr"
    ]


# --- provenance -------------------------------------------------------------------------------------------------


class Provenance(NamedTuple):
    """The stages that the made runs of a figure do not have from the same code."""

    differences: (
        str  # in one line: stages that differ in VERSION or packages, and in which runs; empty if none does
    )
    sources: list[str]  # stages that not all runs have from the same state of the source code


def provenance(runs: Sequence[Run]) -> Provenance:
    """Return how the stages of the made runs differ in what made them.

    A stage is compared with itself in the other runs. Stages of one run that were made at different times are the point
    of a store; two runs that a claim compares and that different code trained are a confounder. A change of the source
    under one VERSION is taken to leave results alone: it is told, and no claim is refused for it.
    """
    stages: dict[str, list[str]] = {}  # a difference in words -> the stages that have it
    sources: set[str] = set()
    for (_, stage, fact), keys_of in _facts_of_stages(runs).items():
        if len(keys_of) > 1 and fact == SOURCE:
            sources.add(stage)
        elif len(keys_of) > 1:
            words = " and ".join(f"{fact} {value} ({_some(keys)})" for value, keys in sorted(keys_of.items()))
            stages.setdefault(words, []).append(stage)
    differences = (f"{', '.join(dict.fromkeys(names))} by {words}" for words, names in stages.items())
    return Provenance("; ".join(differences), sorted(sources))


def _facts_of_stages(runs: Sequence[Run]) -> dict[tuple[str, str, str], dict[str, list[str]]]:
    """Role, stage and fact -> value -> keys of the runs that have it."""
    facts: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for run in (run for run in runs if run.status == "made"):
        for role, manifest in run.made_by().items():
            if not role:
                continue  # the leaf computes nothing
            stage = str(manifest["stage"]).rpartition(".")[2]
            for fact, value in _facts(manifest).items():
                facts.setdefault((role, stage, fact), {}).setdefault(value, []).append(run.key[:8])
    return facts


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    origin = manifest["provenance"]
    packages = {name: version or "(none)" for name, version in origin.get("packages", {}).items()}
    return {"VERSION": str(manifest["version"]), SOURCE: origin.get("source", "(unknown)"), **packages}


def _some(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"run {keys[0]}"
    return f"{len(keys)} runs: {', '.join(keys[:LISTED])}{', ...' if len(keys) > LISTED else ''}"
