"""The same on real preference data; gold is a larger reward model fitted to human choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from analysis.drawing.result import FigureResult
from analysis.figures import gao2022_fig1
from analysis.statistics.claims import normal_interval
from rlhf_lab.functional.intervals import Interval
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
    """Figure 1 of these runs, and how far their gold can be taken for people's: no claim is about that."""
    result = gao2022_fig1.make(runs)
    judged = [run for run in runs if run.status == "made" and "gold" in run.config["task"]]
    if not judged:  # another sweep's runs, whose gold is a rubric
        return result
    found = agreements(judged[0].evaluation("gold"))
    fits = pd.concat([result.fits, pd.DataFrame([_row(one) for one in found])], ignore_index=True)
    words = "; ".join(
        f"{one.rule} {one.share:.3f} [{one.interval.lo:.3f}, {one.interval.hi:.3f}]" for one in found
    )
    note = f"agreement with people's held-out choices (n = {found[0].n}, chance .5): {words}"
    return replace(result, fits=fits, notes=[*result.notes, note])


def agreements(evaluation: dict[str, Any]) -> list[Agreement]:
    """Of gold, and of the rules that read no words, on the same choices."""
    untied = evaluation["untied"]
    accuracies = {"gold": untied["accuracy"]} | evaluation["baselines"]
    return [
        Agreement(
            rule if rule == "gold" else f"{rule} alone",
            one["mean"],
            normal_interval(one["mean"], float("nan") if one["se"] is None else one["se"]),
            untied["n"],
        )
        for rule, one in accuracies.items()
    ]


def _row(one: Agreement) -> dict[str, Any]:
    return {
        "method": one.rule,
        "n": one.n,
        "form": "agreement with people's held-out choices",
        "parameter": "share",
        "estimate": one.share,
        "lo": one.interval.lo,
        "hi": one.interval.hi,
    }
