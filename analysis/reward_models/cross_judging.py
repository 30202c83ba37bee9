"""A policy judged by two reward models: the one it is optimised against, and one of the other half of the questions.

Both rewards are less their mean on the initial policy, in SDs within a prompt of their own there. Gold has no part in
that scale, so the two are exchangeable until one of them is optimised against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers
from analysis.best_of_n.curves import checkpoint_curves
from analysis.best_of_n.initial_policy import InitialScales
from analysis.runs.arms import Arm, Study
from analysis.runs.equal_kl import Difference, Path, apart, pairs, path
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
        """`train`, `test` or `gap`, train minus test, of each replicate: less what it is on the initial policy."""
        return [self._path(name, replicate) for replicate in range(len(self.train.curves))]

    def _path(self, name: str, replicate: int) -> Path:
        found = {one: _recentred(path(getattr(self, one), replicate, "proxy")) for one in ("train", "test")}
        if name != "gap":
            return found[name]
        return Path(found["train"].d, found["train"].values - found["test"].values)

    def at_end(self, name: str) -> Estimate:
        """A number at the last checkpoint."""
        return Estimate.of(np.stack([one.values[:, -1] for one in self.paths(name)], axis=1))

    def between(self, name: str, start: float, stop: float) -> Estimate:
        """Its mean from a share `start` to a share `stop` of the d of the last checkpoint."""
        shares = np.linspace(start, stop, STEPS)
        means = [one.at(one.d[:, -1:] * shares).mean(axis=1) for one in self.paths(name)]
        return Estimate.of(np.stack(means, axis=1))

    def linearity(self, share: float) -> Floats:
        """(B, R): R^2 of a line through the checkpoints of `train` over d, up to a share of the last one's d."""
        return np.stack([r_squared(one, share) for one in self.paths("train")], axis=1)


def _recentred(one: Path) -> Path:
    return Path(one.d, one.values - one.values[:, :1])


def r_squared(one: Path, share: float) -> Floats:
    """(B,): of a line over d up to a share of the last checkpoint's; NaN of fewer than four points, three of which are
    near some line whatever they are.
    """
    kept = one.d[0] <= share * one.d[0, -1]
    if kept.sum() < 4:
        return np.full(len(one.d), np.nan)
    x, y = (table[:, kept] - table[:, kept].mean(axis=1, keepdims=True) for table in (one.d, one.values))
    return (x * y).sum(axis=1) ** 2 / ((x**2).sum(axis=1) * (y**2).sum(axis=1))


def smaller_gap(first: Judged, second: Judged) -> Difference | None:
    """The gap of the first arm minus that of the second, of the same seeds, at equal KL."""
    own, other = first.paths("gap"), second.paths("gap")
    return apart([(own[i], other[j]) for i, j in pairs(first.train, second.train)])


# --- from the store -----------------------------------------------------------------------------------------


def judged(read: Study) -> list[Judged]:
    """The trained arms whose answers both reward models scored, scaled by SFT's answers where a table has them."""
    tables = {_model(arm, run): run for arm in read.arms if arm.chooses for run in arm.runs if _both(run)}
    return [
        _judged(arm, [tables.get(_model(arm, run)) for run in arm.runs])
        for arm in read.arms
        if not arm.chooses and all(_both(run) for run in arm.runs)
    ]


def _both(run: Run) -> bool:
    """Whether the other half's reward model scored a run's answers."""
    return bool(run.config.get("score", {}).get("other_half"))


def _model(arm: Arm, run: Run) -> tuple[Any, ...]:
    """What tells reward models apart here: the size, and the seeds."""
    return arm.rm, run.config["rm"]["seed"], run.config["preferences"]["seed"]


def _judged(arm: Arm, tables: Sequence[Run | None]) -> Judged:
    weights = weights_of(arm.drawn.resamples, arm.questions)
    curves, agreement = [], []
    for run, table, train in zip(arm.runs, tables, arm.curves, strict=True):
        rows = rows_of(run, ["checkpoint", "kl", OTHER])
        sft = rows if table is None else rows_of(table, [OTHER])
        initial = _initial(_put(sft, "proxy"))
        curves.append(checkpoint_curves(_put(rows, "proxy"), initial))
        together = _initial(_put(sft, "gold")).at(train.questions).covariance  # of the two rewards
        agreement.append(_correlation(together, train.initial, curves[-1].initial, weights))
    return Judged(arm, replace(arm, curves=tuple(curves)), Estimate.of(np.stack(agreement, axis=1)))


def _put(rows: pa.Table, name: str) -> pa.Table:
    """The rows with the other half's scores in the place of a column."""
    return rows.set_column(rows.column_names.index(name), name, rows[OTHER])


def _initial(rows: pa.Table) -> InitialScales:
    start = Answers.of(rows).first_checkpoint()
    return start.moments(start.answers("the initial policy"))


def _correlation(together: Floats, train: InitialScales, test: InitialScales, weights: Floats) -> Floats:
    """(B,) of two rewards within a prompt, from their covariance (C,) and variances; NaN of one answer a prompt."""
    return (weights @ together) / np.sqrt((weights @ train.proxy_variance) * (weights @ test.proxy_variance))
