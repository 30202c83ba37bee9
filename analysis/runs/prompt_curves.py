"""Curves of any number of a run's answers, prompt by prompt: at every n of best-of-n, at every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answers import in_order, same_count, starts
from analysis.best_of_n.estimator import Ranking, rank, ranked_curves, tie_averaged
from analysis.runs.chosen import chooses
from rlhf_lab.functional.intervals import cluster_means
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PromptCurves:
    """The answers of one run, in order, and the prompts they are to."""

    rows: pa.Table  # A rows
    begin: Ints  # (S,) where the answers to each prompt at each checkpoint begin
    points: Ints  # (K,) n, or checkpoints

    @property
    def trained(self) -> bool:
        """Whether these are a trained policy's answers, not a table of SFT's."""
        return "checkpoint" in self.rows.column_names

    @property
    def prompt(self) -> Ints:
        """(P,) prompt_id."""
        return self._of_prompts("prompt_id").astype(np.int64)

    @property
    def question(self) -> Ints:
        """(P,) question_id of each prompt."""
        return self._of_prompts("question_id").astype(np.int64)

    @property
    def family(self) -> NDArray[np.str_]:
        """(P,) family of each prompt, where the column was read."""
        return self._of_prompts("family").astype(str)

    @property
    def sft(self) -> NDArray[np.bool_]:
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

    def by_question(self, values: Floats) -> Floats:
        """(C, K): the mean of `means` over the prompts of each question."""
        return cluster_means(self.means(values), self.question)

    @cached_property
    def _ranking(self) -> Ranking:
        count = same_count(self.begin, self.rows.num_rows, "the table of SFT answers")
        return rank(self.rows["proxy"].to_numpy().reshape(-1, count))

    def _of_prompts(self, column: str) -> NDArray:
        """Of each of P prompts: of a trained policy, where its answers begin at the first checkpoint."""
        first = self.begin[: len(self.begin) // len(self.points)] if self.trained else self.begin
        return self.rows[column].take(pa.array(first)).to_numpy(zero_copy_only=False)


def prompt_curves(run: Run, columns: Sequence[str], points: Ints) -> PromptCurves:
    """Read `columns` of a run whose curves have these points; KeyError names a column that is nowhere."""
    needed = ["prompt_id", "question_id", "proxy" if chooses(run) else "checkpoint", *columns]
    rows = in_order(run.rows(list(dict.fromkeys(needed))))
    return PromptCurves(rows, starts(rows), points)
