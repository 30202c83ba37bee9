"""Figure 1 of Gao et al. on real preference data; gold is a larger reward model fitted to human choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from analysis.drawing.result import FigureResult
from analysis.figures import gao2022_fig1
from rlhf_lab.functional.intervals import Estimate, Interval
from rlhf_lab.store.records import Run

NAME = "hh_harmless"
SWEEPS = ("hh_harmless",)


class Agreement(NamedTuple):
    """How often a rule picks the answer that people picked, on held-out choices."""

    rule: str
    share: float
    interval: Interval  # 95 %, clustered by question
    n: int  # choices


def make(runs: Sequence[Run]) -> FigureResult:
    """Draw Figure 1 of these runs, and tell how far their gold agrees with people: no claim is about that."""
    result = gao2022_fig1.make(runs)
    judged = [run for run in runs if run.status == "made" and "gold" in run.config["task"]]
    if not judged:  # another sweep's runs, whose gold is a rubric
        return result
    found = agreements(judged[0].evaluation("gold"))
    rows = [
        {
            "method": agreement.rule,
            "n": agreement.n,
            "form": "agreement with people's held-out choices",
            "parameter": "share",
            "estimate": agreement.share,
            "lo": agreement.interval.lo,
            "hi": agreement.interval.hi,
        }
        for agreement in found
    ]
    words = "; ".join(
        f"{agreement.rule} {agreement.share:.3f} [{agreement.interval.lo:.3f}, {agreement.interval.hi:.3f}]"
        for agreement in found
    )
    note = f"agreement with people's held-out choices (n = {found[0].n}, chance .5): {words}"
    fits = pd.concat([result.fits, pd.DataFrame(rows)], ignore_index=True)
    return replace(result, fits=fits, notes=[*result.notes, note])


def agreements(evaluation: dict[str, Any]) -> list[Agreement]:
    """Return the agreement of gold, and of the rules that read no words, on the same choices."""
    untied = evaluation["untied"]
    found = []
    for rule, accuracy in ({"gold": untied["accuracy"]} | evaluation["baselines"]).items():
        mean, se = accuracy["mean"], accuracy["se"]
        interval = Estimate.plain(mean, float("nan") if se is None else se).interval()
        found.append(Agreement(rule if rule == "gold" else f"{rule} alone", mean, interval, untied["n"]))
    return found
