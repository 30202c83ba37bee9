"""The scores of one run's answers, in order of checkpoint, question and prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.initial import Initial, Tilts
from analysis.resampling import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WELL_FORMED_FORM = -1e-6  # gold.form of an answer that lost nothing, up to rounding


def in_order(rows: pa.Table) -> pa.Table:
    """The rows by checkpoint, question and prompt, as stages leave them."""
    place = _place(rows)
    return rows if (np.diff(place) >= 0).all() else rows.take(np.argsort(place, kind="stable"))


def _place(rows: pa.Table) -> Ints:
    prompt, question = (rows[name].to_numpy().astype(np.int64) for name in ("prompt_id", "question_id"))
    return (_checkpoint(rows) * (question.max() + 1) + question) * (prompt.max() + 1) + prompt


def _checkpoint(rows: pa.Table) -> Ints:
    if "checkpoint" not in rows.column_names:
        return np.zeros(rows.num_rows, dtype=np.int64)
    return rows["checkpoint"].to_numpy().astype(np.int64)


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
        """The scores of one run's rows; a table without checkpoints is all of one."""
        rows = in_order(rows)
        place = _place(rows)
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        prompt, question = (rows[name].to_numpy().astype(np.int64) for name in ("prompt_id", "question_id"))
        return Answers(starts, _checkpoint(rows)[starts], prompt[starts], question[starts], scores(rows))

    def first_checkpoint(self) -> Answers:
        """The answers of the first checkpoint alone."""
        prompts = int((self.checkpoint == self.checkpoint[0]).sum())
        end = None if prompts == len(self.starts) else self.starts[prompts]
        values = {name: value[:end] for name, value in self.values.items()}
        starts, checkpoint = self.starts[:prompts], self.checkpoint[:prompts]
        return Answers(starts, checkpoint, self.prompt[:prompts], self.cluster[:prompts], values)

    def answers(self, what: str) -> int:
        """How many answers each prompt has."""
        counts = np.diff(self.starts, append=len(self.values["gold"]))
        if (counts != counts[0]).any():
            raise ValueError(
                f"{what} has {counts.min()} to {counts.max()} answers a prompt, not the same for all"
            )
        return int(counts[0])

    def matrix(self, name: str, count: int) -> Floats:
        """(S, count): a score of the answers to each prompt."""
        return self.values[name].reshape(-1, count)

    def prompt_means(self, values: Floats) -> Floats:
        """(S,): the mean over the answers to each prompt at each checkpoint."""
        return np.add.reduceat(values, self.starts) / np.diff(self.starts, append=len(values))

    def initial(self, count: int) -> Initial:
        """Scales from these answers, `count` to each prompt, when they are the initial policy's."""
        gold, proxy = self.matrix("gold", count), self.matrix("proxy", count)
        spread = proxy - proxy.mean(axis=1, keepdims=True)
        joint = ((gold - gold.mean(axis=1, keepdims=True)) * spread).sum(axis=1)
        free = count - 1 if count > 1 else np.nan  # one answer has no spread
        columns = (gold.mean(axis=1), (gold**2).mean(axis=1), joint / free, (spread**2).sum(axis=1) / free)
        level, square, covariance, variance = (cluster_means(column, self.cluster) for column in columns)
        questions, tilts = np.unique(self.cluster), Tilts.of(self.prompt, proxy)
        return Initial(questions, level, square, covariance, variance, tilts)


def scores(rows: pa.Table) -> dict[str, Floats]:
    """Gold, proxy, KL if it was asked for, the parts gold has, and content of well-formed answers (gold where it
    has no parts).
    """
    plain = ("gold", "proxy", "kl") if "kl" in rows.column_names else ("gold", "proxy")
    found = {name: rows[name].to_numpy().astype(float) for name in plain}
    for part in ("content", "form"):
        if f"gold.{part}" in rows.column_names:
            found[part] = rows[f"gold.{part}"].to_numpy().astype(float)
    for name, values in found.items():
        if np.isnan(values).any():
            raise ValueError(f"{int(np.isnan(values).sum())} answers have no {name}: score them first")
    well_formed = rows["finished"].to_numpy(zero_copy_only=False).astype(bool)
    if "form" in found:
        well_formed = well_formed & (found["form"] >= WELL_FORMED_FORM)
    found["well_formed"] = well_formed.astype(float)
    found["well_formed_content"] = well_formed * found.get("content", found["gold"])
    return found
