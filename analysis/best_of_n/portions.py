"""A table of answers a few prompts at a time: rules that look at each prompt alone need no more of it in double
precision, whatever its size.

Portions hold whole questions, so that the curves of a portion are those of its questions in the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers, in_order, pooled_sd, same_count, starts
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.estimator import PORTION
from analysis.best_of_n.initial_policy import Initial, Needed, Tilts
from analysis.best_of_n.mbr_utility import like_others
from analysis.best_of_n.rules import SAME_SCORE, Chosen, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROMPT, TOKENS = ("question_id", "prompt_id"), "token_ids"


class Scales(NamedTuple):
    """What the whole table says and each portion needs."""

    proxy: float  # its SD within prompts
    same: float  # how near two scores are that tie, in such SDs
    initial: Initial


@dataclass(frozen=True)
class Portions:
    """N answers to each of many prompts, in order."""

    rows: pa.Table
    answers: int  # N
    bounds: Ints  # rows at which portions begin and the last one ends
    like: Floats | None  # (Q, N) likeness to the other answers, in SDs within prompts

    @classmethod
    def of(cls, rows: pa.Table, like: Floats | None = None) -> Portions:
        """The portions of a run's rows; likeness as it is known, or of their `token_ids` if they have that column.

        ValueError if its prompts have different numbers of answers.
        """
        rows = in_order(rows)
        begin = starts(rows)
        count = same_count(begin, rows.num_rows, "the table of SFT answers")
        question = rows["question_id"].to_numpy()[begin]
        opens = np.append(begin[np.diff(question, prepend=-1) != 0], rows.num_rows)
        aimed = np.arange(0, rows.num_rows + PORTION, PORTION)
        bounds = opens[np.searchsorted(opens, aimed).clip(max=len(opens) - 1)]
        if like is None and TOKENS in rows.column_names:
            like = like_others(rows[TOKENS], count)
        return cls(rows, count, np.unique(bounds), like)

    def __iter__(self) -> Iterator[tuple[pa.Table, slice]]:
        for start, stop in pairwise(self.bounds.tolist()):
            yield self.rows.slice(start, stop - start), slice(start // self.answers, stop // self.answers)

    def curves(
        self, points: Ints, rules: Sequence[Callable[[Table], Chosen]], tilted: bool = True
    ) -> list[Curves]:
        """The curve over `points` (n of N answers) of each rule, all of which look at each prompt alone; without
        `tilted` they do not say how much KL the proxy's rise needs.
        """
        scales = self._scales(tilted)
        good = points <= self.answers // 4
        found: list[list[Curves]] = [[] for _ in rules]
        for rows, prompts in self:
            table = self._table(rows, prompts, scales)
            for parts, rule in zip(found, rules, strict=True):
                parts.append(table.curves(points, good, rule(table)))
        return [_joined(parts) for parts in found]

    def _table(self, rows: pa.Table, prompts: slice, scales: Scales) -> Table:
        """A portion in the units of the whole."""
        answers = self._read(rows)
        values = np.stack([answers.matrix(name, self.answers) for name in answers.values])
        score = answers.matrix("proxy", self.answers) / scales.proxy
        like = None if self.like is None else self.like[prompts]
        of = (answers.prompt, answers.cluster, score, scales.same, tuple(answers.values), values)
        return Table(*of, scales.initial, like)

    def _read(self, rows: pa.Table) -> Answers:
        return Answers.starting(rows, np.arange(0, len(rows), self.answers))

    def _scales(self, tilted: bool) -> Scales:
        proxy, moments, prompts = _Spread(), [], []
        for rows, _ in self:
            answers = self._read(rows.select([*PROMPT, "gold", "proxy"]))
            proxy.add(answers.matrix("proxy", self.answers))
            moments.append(answers.moments(self.answers))
            prompts.append(answers.prompt)
        initial, sd = _whole(moments), proxy.within(self.answers)
        if tilted:
            stored = self.rows["proxy"].to_numpy().reshape(-1, self.answers)
            initial = replace(initial, tilts=Tilts.of(np.concatenate(prompts), stored))
        return Scales(sd, SAME_SCORE * proxy.total() / sd, initial)


class _Spread:
    """The spread of scores that come a portion at a time."""

    def __init__(self) -> None:
        self._means: list[Floats] = []
        self._variances: list[Floats] = []
        self._largest = 0.0

    def add(self, scores: Floats) -> None:
        """Count the scores (Q, N) of a portion."""
        self._means.append(scores.mean(axis=1))
        self._variances.append(scores.var(axis=1))
        self._largest = max(self._largest, float(np.abs(scores).max()))

    def within(self, answers: int) -> float:
        """The SD within prompts."""
        return pooled_sd(np.concatenate(self._variances), answers, self._largest)

    def total(self) -> float:
        """The SD of all scores."""
        return float(np.sqrt(np.concatenate(self._variances).mean() + np.concatenate(self._means).var()))


def _whole(parts: Sequence[Initial]) -> Initial:
    """The scales of all questions, without tilts."""
    columns = [field.name for field in fields(Initial) if field.name != "tilts"]
    return Initial(*(np.concatenate([getattr(one, name) for one in parts]) for name in columns), tilts=None)


def _joined(parts: Sequence[Curves]) -> Curves:
    """The curves of all questions."""
    first, needed = parts[0], None
    if first.needed is not None:
        found = [one.needed for one in parts if one.needed is not None]
        mean, cumulant = (
            np.concatenate([getattr(one, name) for one in found]) for name in ("mean", "cumulant")
        )
        needed = Needed(first.needed.strengths, mean, cumulant)
    return replace(
        first,
        questions=np.concatenate([one.questions for one in parts]),
        kl=np.concatenate([one.kl for one in parts]),
        values={name: np.concatenate([one.values[name] for one in parts]) for name in first.values},
        needed=needed,
    )
