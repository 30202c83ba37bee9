"""A policy judged by two reward models: the one it is optimised against, and one of the other half of the questions.

Both rewards are less their mean on the initial policy, in SDs within a prompt of their own there. Gold has no part in
that scale, so the two are exchangeable until one of them is optimised against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers
from analysis.best_of_n.curves import checkpoint_curves
from analysis.best_of_n.initial_policy import InitialScales
from analysis.runs.arms import Arm, Study, proxy_of
from analysis.runs.equal_kl import Difference, Path, pairs, path, path_difference
from analysis.runs.run_curves import rows_of
from analysis.statistics.resampling import weights_of
from rlhf_lab.functional.intervals import Estimate
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]

OTHER = "test"  # the score by the reward model of the other half
STEPS = 10  # of d over which a range is averaged


class Judged(NamedTuple):
    """An arm, and the same with the other half's reward model in the place of the proxy."""

    train: Arm
    test: Arm
    agreement: Estimate  # correlation of the two rewards among SFT's answers to a prompt

    def paths(self, name: str) -> list[Path]:
        """Return `train`, `test` or `gap` (train minus test) of each replicate, less its initial value."""
        train, test = (
            [_recentred(path(arm, i, "proxy")) for i in range(len(arm.curves))]
            for arm in (self.train, self.test)
        )
        if name == "gap":
            return [Path(own.d, own.values - other.values) for own, other in zip(train, test, strict=True)]
        return train if name == "train" else test

    def at_end(self, name: str) -> Estimate:
        """Return a number at the last checkpoint."""
        return Estimate.of(np.stack([of_run.values[:, -1] for of_run in self.paths(name)], axis=1))

    def between(self, name: str, start: float, stop: float) -> Estimate:
        """Return its mean from a share `start` to a share `stop` of the d of the last checkpoint."""
        shares = np.linspace(start, stop, STEPS)
        means = [of_run.at(of_run.d[:, -1:] * shares).mean(axis=1) for of_run in self.paths(name)]
        return Estimate.of(np.stack(means, axis=1))

    def linearity(self, share: float) -> Floats:
        """(B, R): R^2 of a line through the checkpoints of `train` over d, up to a share of the last one's d."""
        return np.stack([r_squared(of_run, share) for of_run in self.paths("train")], axis=1)


def _recentred(path: Path) -> Path:
    return Path(path.d, path.values - path.values[:, :1])


def r_squared(path: Path, share: float) -> Floats:
    """(B,): R^2 of a line over d up to a share of the last checkpoint's d; NaN of fewer than four points.

    Three points are near some line whatever they are.
    """
    kept = path.d[0] <= share * path.d[0, -1]
    if kept.sum() < 4:
        return np.full(len(path.d), np.nan)
    x, y = (table[:, kept] - table[:, kept].mean(axis=1, keepdims=True) for table in (path.d, path.values))
    return (x * y).sum(axis=1) ** 2 / ((x**2).sum(axis=1) * (y**2).sum(axis=1))


def smaller_gap(first: Judged, second: Judged) -> Difference | None:
    """Return the gap of the first arm minus that of the second, of the same seeds, at equal KL."""
    gaps, others = first.paths("gap"), second.paths("gap")
    return path_difference([(gaps[i], others[j]) for i, j in pairs(first.train, second.train)])


# --- from the store ---------------------------------------------------------------------------------------------


def judged(study: Study) -> list[Judged]:
    """Return the trained arms whose answers both reward models scored, scaled by a table of SFT's answers if any."""
    tables = {
        proxy_of(run): run for arm in study.arms if arm.chooses for run in arm.runs if _scored_by_both(run)
    }
    return [
        _judged(arm, [tables.get(proxy_of(run)) for run in arm.runs])
        for arm in study.arms
        if not arm.chooses and all(_scored_by_both(run) for run in arm.runs)
    ]


def _scored_by_both(run: Run) -> bool:
    return bool(run.config.get("score", {}).get("other_half"))


def _judged(arm: Arm, tables: Sequence[Run | None]) -> Judged:
    weights = weights_of(arm.drawn.resamples, arm.questions)
    curves, correlations = [], []
    for run, table, train in zip(arm.runs, tables, arm.curves, strict=True):
        rows = rows_of(run, ["checkpoint", "kl", OTHER])
        sft = rows if table is None else rows_of(table, [OTHER])
        test = checkpoint_curves(_with_other(rows, "proxy"), _initial(_with_other(sft, "proxy")))
        covariance = _initial(_with_other(sft, "gold")).at(train.questions).covariance  # of the two rewards
        curves.append(test)
        correlations.append(_correlation(covariance, train.initial, test.initial, weights))
    return Judged(arm, replace(arm, curves=tuple(curves)), Estimate.of(np.stack(correlations, axis=1)))


def _with_other(rows: pa.Table, name: str) -> pa.Table:
    """Return the rows with the other half's scores in the place of a column."""
    return rows.set_column(rows.column_names.index(name), name, rows[OTHER])


def _initial(rows: pa.Table) -> InitialScales:
    start = Answers.of(rows).first_checkpoint()
    return start.moments(start.answers("the initial policy"))


def _correlation(covariance: Floats, train: InitialScales, test: InitialScales, weights: Floats) -> Floats:
    """(B,) of two rewards within a prompt, from their covariance (C,) and variances; NaN of one answer a prompt."""
    return (weights @ covariance) / np.sqrt(
        (weights @ train.proxy_variance) * (weights @ test.proxy_variance)
    )
