"""The scores of one run's answers as arrays, in order of checkpoint, question and prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.initial_policy import InitialScales, Tilts
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WELL_FORMED_FORM = -1e-6  # gold.form of an answer that lost nothing, up to rounding
ROUNDING = 1e-9  # of the largest score; a smaller spread is rounding
ORDER = ("checkpoint", "question_id", "prompt_id")
PORTION = 1 << 18  # rows compared at a time


def in_order(rows: pa.Table) -> pa.Table:
    """Return the rows in order of checkpoint, question and prompt, in which stages write them."""
    begin = starts(rows)
    columns = [rows[name].to_numpy()[begin].astype(np.int64) for name in _order(rows)]
    later = np.zeros(len(begin) - 1, dtype=np.int64)
    for column in columns:
        later = np.where(later, later, np.diff(column))
    if (later > 0).all():
        return rows
    return rows.take(np.lexsort([rows[name].to_numpy() for name in reversed(_order(rows))]))


def starts(rows: pa.Table) -> Ints:
    """Return the rows (S,) at which the answers to another prompt or at another checkpoint begin."""
    begin = [np.zeros(1, dtype=np.int64)]
    for first in range(1, rows.num_rows, PORTION):
        part = rows.slice(first - 1, PORTION + 1)
        columns = [part[name].to_numpy() for name in _order(rows)]
        moved = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        begin.append(first + np.flatnonzero(moved))
    return np.concatenate(begin)


def _order(rows: pa.Table) -> list[str]:
    """Return the columns that order the rows; a table without checkpoints belongs to one."""
    return [name for name in ORDER if name in rows.column_names]


@dataclass(frozen=True)
class Answers:
    """Scores of answers in order of checkpoint, question and prompt."""

    starts: Ints  # (S,) where the answers to each prompt at each checkpoint begin
    checkpoint: Ints  # (S,)
    prompt: Ints  # (S,)
    cluster: Ints  # (S,) the prompt's question
    values: dict[str, Floats]  # name -> (A,)

    @staticmethod
    def of(rows: pa.Table) -> Answers:
        """Return the scores of one run's rows, in any order."""
        rows = in_order(rows)
        return Answers.starting(rows, starts(rows))

    @staticmethod
    def starting(rows: pa.Table, begin: Ints) -> Answers:
        """Return the scores of rows that are in order; the answers to each prompt at each checkpoint `begin` (S,)."""
        ids = {name: rows[name].to_numpy()[begin].astype(np.int64) for name in _order(rows)}
        checkpoint = ids.get("checkpoint", np.zeros(len(begin), dtype=np.int64))
        return Answers(begin, checkpoint, ids["prompt_id"], ids["question_id"], scores(rows))

    def first_checkpoint(self) -> Answers:
        """Return the answers of the first checkpoint alone."""
        prompts = int((self.checkpoint == self.checkpoint[0]).sum())
        end = None if prompts == len(self.starts) else self.starts[prompts]
        values = {name: value[:end] for name, value in self.values.items()}
        starts, checkpoint = self.starts[:prompts], self.checkpoint[:prompts]
        return Answers(starts, checkpoint, self.prompt[:prompts], self.cluster[:prompts], values)

    def answers(self, what: str) -> int:
        """Return how many answers each prompt has; ValueError names `what` where the numbers differ."""
        return same_count(self.starts, len(self.values["gold"]), what)

    def matrix(self, name: str, count: int) -> Floats:
        """Return a score of the answers to each prompt, (S, count)."""
        return self.values[name].reshape(-1, count)

    def prompt_means(self, values: Floats) -> Floats:
        """Return the mean of `values` (A,) over the answers to each prompt at each checkpoint, (S,)."""
        return np.add.reduceat(values, self.starts) / np.diff(self.starts, append=len(values))

    def initial(self, count: int) -> InitialScales:
        """Return the scales and tilts of these answers, `count` to each prompt, which are the initial policy's."""
        return replace(self.moments(count), tilts=Tilts.of(self.prompt, self.matrix("proxy", count)))

    def moments(self, count: int) -> InitialScales:
        """Return the scales without tilts."""
        gold, proxy = self.matrix("gold", count), self.matrix("proxy", count)
        spread = proxy - proxy.mean(axis=1, keepdims=True)
        joint = ((gold - gold.mean(axis=1, keepdims=True)) * spread).sum(axis=1)
        free = count - 1 if count > 1 else np.nan  # one answer has no spread
        columns = (gold.mean(axis=1), (gold**2).mean(axis=1), joint / free, (spread**2).sum(axis=1) / free)
        level, square, covariance, variance = (cluster_means(column, self.cluster) for column in columns)
        return InitialScales(np.unique(self.cluster), level, square, covariance, variance, tilts=None)


def same_count(begin: Ints, rows: int, what: str) -> int:
    """Return how many answers each prompt has, given where they `begin` (S,) among `rows`.

    Raises ValueError, which names `what`, where prompts have different numbers of answers.
    """
    counts = np.diff(begin, append=rows)
    if (counts != counts[0]).any():
        raise ValueError(
            f"{what} has {counts.min()} to {counts.max()} answers a prompt, not the same for all"
        )
    return int(counts[0])


def within_sd(scores: Floats) -> float:
    """Return the SD within prompts of scores (Q, N); 1 where they differ by rounding only."""
    return pooled_sd(scores.var(axis=1), scores.shape[1], float(np.abs(scores).max()))


def pooled_sd(variance: Floats, answers: int, largest: float) -> float:
    """Return the SD of scores within prompts from the `variance` (Q,) of each prompt's `answers`.

    It is 1 where scores, the `largest` in absolute value, differ by rounding only.
    """
    free = answers / max(answers - 1, 1)
    sd = float(np.sqrt(variance.mean() * free))
    return sd if sd > ROUNDING * largest else 1.0


def scores(rows: pa.Table) -> dict[str, Floats]:
    """Return those of gold, proxy, KL and the parts of gold that the rows have, each (A,).

    Where the rows have `finished`, also whether an answer is well-formed (it ended and lost nothing in form),
    and the content of well-formed answers (0 for others; gold where it has no parts). Raises ValueError where a
    score is missing.
    """
    columns = {"gold": "gold", "proxy": "proxy", "kl": "kl", "content": "gold.content", "form": "gold.form"}
    by_name = {
        name: rows[column].to_numpy().astype(float)
        for name, column in columns.items()
        if column in rows.column_names
    }
    for name, values in by_name.items():
        if np.isnan(values).any():
            raise ValueError(f"{int(np.isnan(values).sum())} answers have no {name}: score them first")
    if "finished" not in rows.column_names:
        return by_name
    well_formed = rows["finished"].to_numpy(zero_copy_only=False).astype(bool)
    if "form" in by_name:
        well_formed = well_formed & (by_name["form"] >= WELL_FORMED_FORM)
    by_name["well_formed"] = well_formed.astype(float)
    by_name["well_formed_content"] = well_formed * by_name.get("content", by_name["gold"])
    return by_name
