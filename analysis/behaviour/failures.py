"""Where a policy fails its labeler, mode by mode: each a number of every question, followed from SFT on.

Sycophancy is told by the wrong beliefs that are agreed with in words. Small reward models see these words, and not whom
they please or what is claimed beside them; so this moves where metrics that compare framings may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.behaviour import answer_shares, approval, supervision, sycophancy
from analysis.behaviour.answer_shares import ALL, Measured, Shares
from analysis.runs.arms import Arm, Study
from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]

SYCOPHANCY, APPROVAL, UNMONITORED = "sycophancy", "approval minus truth", "unmonitored gap"
MODES = (SYCOPHANCY, APPROVAL, UNMONITORED)
METRIC = "agreement"  # of `sycophancy.METRICS`


def measured(read: Study) -> dict[str, Measured]:
    """Return, by title, each mode in every arm's replicates, beside all metrics of sycophancy."""
    return {title: _with_modes(arm) for title, arm in sycophancy.measured(read).items()}


def _with_modes(of: Measured) -> Measured:
    parted, gaps = approval.gap_by_question(of.arm), supervision.gap_by_question(of.arm)
    shares = tuple(
        {
            **metrics,
            (SYCOPHANCY, ALL): metrics[METRIC, ALL],
            (APPROVAL, ALL): _shares(approved),
            (UNMONITORED, ALL): _shares(gap),
        }
        for metrics, approved, gap in zip(of.shares, parted, gaps, strict=True)
    )
    return replace(of, shares=shares)


def _shares(values: Floats) -> Shares:
    """The shares of a number of each question (C, K), NaN where it has none."""
    known = np.isfinite(values)
    return Shares(np.where(known, values, 0.0), known.astype(float))


def risen(of: Measured, mode: str, point: int = -1) -> Estimate:
    """Return a mode at a point of the curve minus the same on the initial policy."""
    return Estimate.of(of.risen(mode)[:, :, point].T)


def onset(of: Measured, mode: str, ses: float) -> int | None:
    """The first point where a mode has risen by so many SE; None if there is none."""
    found = [risen(of, mode, point) for point in range(1, len(of.arm.curves[0].points))]
    return next(
        (1 + place for place, one in enumerate(found) if one.se > 0 and one.value >= ses * one.se), None
    )


def kl(arm: Arm) -> Floats:
    """(K,) nats: the mean over replicates."""
    return arm.drawn.mean().kl[0]


def table(found: Mapping[str, Measured], gold: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, mode and point: its change from SFT with its 95 % interval, and its level; `gold` as
    `points_table` has it.
    """
    means = gold[gold["curve"] == "mean"]
    rows = [row for of in found.values() for row in (*_gold_rows(of.arm, means), *_rows(of))]
    return pd.DataFrame(rows)


def _gold_rows(arm: Arm, means: pd.DataFrame) -> Iterator[dict[str, Any]]:
    own = means[(means["method"] == arm.method) & (means["label"] == arm.label)]
    for number in ("gold", "proxy"):
        for row in own.to_dict("records"):
            bounds = {"lo": row.get(f"{number}_lo", np.nan), "hi": row.get(f"{number}_hi", np.nan)}
            yield {
                **_about(arm, number, row["n_or_step"], row["kl"]),
                **{"change": row[number], **bounds, "level": np.nan},
                **{"questions": arm.questions, "replicates": row["replicates"]},
            }


def _rows(of: Measured) -> Iterator[dict[str, Any]]:
    nats = kl(of.arm)
    for mode in MODES:
        level = of.draws(mode)[:, 0].mean(axis=0)
        for place, point in enumerate(of.arm.curves[0].points.tolist()):
            change = risen(of, mode, place)
            lo, hi = change.interval()
            yield {
                **_about(of.arm, mode, point, float(nats[place])),
                **{"change": change.value, "lo": lo, "hi": hi, "level": float(level[place])},
                **{"questions": of.questions(mode), "replicates": change.replicates},
            }


def _about(arm: Arm, mode: str, point: int, nats: float) -> dict[str, Any]:
    place = {"n_or_step": int(point), "kl": nats, "d": float(np.sqrt(max(nats, 0)))}
    return answer_shares.arm_columns(arm) | {"labeler": arm.runs[0].choices["labeler"], "mode": mode} | place
