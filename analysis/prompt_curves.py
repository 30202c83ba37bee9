"""Curves of any number of a run's answers, prompt by prompt: at every n of best-of-n, at every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.answers import in_order, same_count, starts
from analysis.bestofn import rank, ranked_curves, tie_averaged
from analysis.chosen import chooses
from analysis.resampling import cluster_means
from rlhf_lab.records import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PromptCurves(NamedTuple):
    """The answers of one run, and what gives their curves."""

    rows: pa.Table  # of A answers, in order
    sft: NDArray[np.bool_]  # (A,) whether it is the initial policy's
    prompt: Ints  # (P,) prompt_id
    question: Ints  # (P,) of each prompt
    of: Callable[[Floats], Floats]  # a number of each answer (A,) -> its mean at each point (P, K)

    def by_question(self, values: Floats) -> Floats:
        """(C, K): the mean over the prompts of each question of a number of each answer (A,)."""
        return cluster_means(self.of(values), self.question)


def prompt_curves(run: Run, columns: Sequence[str], points: Ints) -> PromptCurves:
    """Read `columns` of a run whose curves have these points; KeyError names a column that is nowhere."""
    choosing = chooses(run)
    needed = ["prompt_id", "question_id", "proxy" if choosing else "checkpoint", *columns]
    rows = in_order(run.rows(list(dict.fromkeys(needed))))
    begin = starts(rows)
    own = begin if choosing else begin[: len(begin) // len(points)]
    prompt, question = (rows[name].to_numpy()[own].astype(np.int64) for name in ("prompt_id", "question_id"))
    if choosing:
        return PromptCurves(
            rows, np.ones(rows.num_rows, bool), prompt, question, _chosen(rows, begin, points)
        )
    sft = rows["checkpoint"].to_numpy() == 0
    return PromptCurves(rows, sft, prompt, question, _of_checkpoints(begin, len(points), rows.num_rows))


def _chosen(rows: pa.Table, begin: Ints, points: Ints) -> Callable[[Floats], Floats]:
    count = same_count(begin, rows.num_rows, "the table of SFT answers")
    ranking = rank(rows["proxy"].to_numpy().reshape(-1, count))
    return lambda values: ranked_curves(tie_averaged(ranking, values.reshape(-1, count)), points)


def _of_checkpoints(begin: Ints, checkpoints: int, answers: int) -> Callable[[Floats], Floats]:
    size = np.diff(begin, append=answers)
    return lambda values: (np.add.reduceat(values, begin) / size).reshape(checkpoints, -1).T
