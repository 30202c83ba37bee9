"""Means of numbers of answers to groups of prompts, at every n of best-of-n and every checkpoint of a policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.answers import in_order, same_count, starts
from analysis.arms import Study
from analysis.bestofn import Ranking, rank, ranked_curves, tie_averaged
from analysis.chosen import chooses
from analysis.curves import Curves
from analysis.plate import Unsuited
from analysis.resampling import Estimate, floored
from analysis.sycophancy import Found, Measured, Shares, about
from rlhf_lab.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Key = tuple[str, str]  # a number of answers, a group of prompts


@dataclass(frozen=True)
class Asked:
    """One run's answers in order and the prompts they are to."""

    rows: pa.Table  # A rows
    begin: Ints  # (S,) where the answers to each prompt at each checkpoint begin
    points: Ints  # (K,) n, or checkpoints

    @classmethod
    def of(cls, rows: pa.Table, points: Ints) -> Asked:
        """Rows with prompt_id, question_id and, of a trained policy, checkpoint; without it, with proxy."""
        ordered = in_order(rows)
        return cls(ordered, starts(ordered), points)

    @property
    def trained(self) -> bool:
        """Whether these are a trained policy's, not a table of SFT's answers."""
        return "checkpoint" in self.rows.column_names

    @property
    def _first(self) -> Ints:
        """Where the answers to each of P prompts begin, at the first checkpoint."""
        return self.begin[: len(self.begin) // len(self.points)] if self.trained else self.begin

    @property
    def question(self) -> Ints:
        """(P,) of each prompt."""
        return self.rows["question_id"].to_numpy()[self._first].astype(np.int64)

    @property
    def family(self) -> NDArray[np.str_]:
        """(P,) of each prompt."""
        return np.array(self.rows["family"].take(pa.array(self._first)).to_pylist(), dtype=str)

    @property
    def initial(self) -> NDArray[np.bool_]:
        """(A,): which answers are the initial policy's."""
        if not self.trained:
            return np.ones(self.rows.num_rows, dtype=bool)
        return self.rows["checkpoint"].to_numpy() == 0

    def number(self, name: str) -> Floats:
        """(A,): a column."""
        return self.rows[name].to_numpy().astype(float)

    def means(self, values: Floats) -> Floats:
        """(P, K): the expected value (A,) of an answer to each prompt."""
        if not self.trained:
            count = len(values) // len(self.begin)
            return ranked_curves(tie_averaged(self._ranking, values.reshape(-1, count)), self.points)
        means = np.add.reduceat(values, self.begin) / np.diff(self.begin, append=len(values))
        return means.reshape(len(self.points), -1).T

    def shares(
        self, questions: Ints, own: NDArray[np.bool_], top: Floats, bottom: Floats | None = None
    ) -> Shares:
        """By `questions` (C,), in order: means (P, K) over the prompts `own` (P,), or what they are a share of."""
        found = Found(self.question[own], top[own], None if bottom is None else bottom[own])
        return Shares.of(questions, found)

    @cached_property
    def _ranking(self) -> Ranking:
        count = same_count(self.begin, self.rows.num_rows, "the table of SFT answers")
        return rank(self.rows["proxy"].to_numpy().reshape(-1, count))


def asked(run: Run, points: Ints, columns: Sequence[str]) -> Asked:
    """A run's answers with their family and these columns; Unsuited where they were not scored."""
    needed = ["prompt_id", "question_id", "family", "proxy" if chooses(run) else "checkpoint", *columns]
    try:
        return Asked.of(run.rows(needed), points)
    except KeyError as missing:
        raise Unsuited(f"{missing.args[0]}; make it with task=every_family score.behaviour=true") from None


def measured(read: Study, of_run: Callable[[Run, Curves], Mapping[Key, Shares]]) -> list[Measured]:
    """The numbers of every arm's replicates."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [(run, curves) for arm in read.arms for run, curves in zip(arm.runs, arm.curves, strict=True)]
        found = iter(list(pool.map(lambda job: of_run(*job), jobs)))
    return [Measured(arm, tuple(next(found) for _ in arm.runs)) for arm in read.arms]


def rates(of: Measured, key: Key) -> list[Estimate]:
    """A rate at every point of an arm."""
    return [floored(Estimate.of(one.T), of.questions(*key)) for one in np.moveaxis(of.draws(*key), 2, 0)]


def rows(of: Measured, keys: Sequence[Key]) -> Iterator[dict[str, Any]]:
    """One row a number, group of prompts and point: the mean over replicates with its 95 % interval."""
    points, kl = of.arm.curves[0].points.tolist(), of.arm.drawn.mean().kl[0].tolist()
    for key in keys:
        name, group = key
        for point, nats, found in zip(points, kl, rates(of, key), strict=True):
            lo, hi = found.interval()
            yield {
                **about(of.arm),
                **{"number": name, "prompts": group, "n_or_step": point, "kl": nats},
                **{"value": found.value, "lo": lo, "hi": hi, "se": found.se},
                **{"questions": of.questions(*key), "replicates": found.replicates},
            }
