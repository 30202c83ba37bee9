"""Rules that choose among the stored answers to a prompt: what each of them expects and how far it goes, over n.

Scores are in SDs of the proxy within prompts on the table. A rule's KL takes the N answers of a prompt for the whole
distribution: an answer's chance against 1/N, equal scores sharing theirs; good for n <= N/4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from analysis.best_of_n import estimator, pessimism
from analysis.best_of_n import soft_best_of_n as soft
from analysis.best_of_n.answer_table import Answers, in_order, within_sd
from analysis.best_of_n.curves import TIE_AWARE, Curves
from analysis.best_of_n.estimator import Ranking
from analysis.best_of_n.initial_policy import Initial
from analysis.best_of_n.mbr_utility import like_others
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME_SCORE = 1e-5  # SDs of all proxies: an answer scored again in another batch differs by 1e-6 or so


class Chosen(NamedTuple):
    """What a rule expects of its choice at K points."""

    values: Floats  # (V, Q, K)
    kl: Floats  # (Q, K) nats


@dataclass(frozen=True)
class Table:
    """N answers of the initial policy to each of Q prompts."""

    prompts: Ints  # (Q,)
    cluster: Ints  # (Q,) the prompt's question
    score: Floats  # (Q, N) proxy in SDs within prompts
    same: float  # how near two scores are that tie
    names: tuple[str, ...]  # (V,)
    values: Floats  # (V, Q, N)
    initial: Initial
    like: Floats | None = None  # (Q, N) likeness to the other answers, in SDs within prompts

    @classmethod
    def of(cls, rows: pa.Table, like: Floats | None = None) -> Table:
        """From a run's rows; likeness as `like_others` has it, or of their `token_ids` if they have that column."""
        rows = in_order(rows)
        answers = Answers.of(rows)
        count = answers.answers("the table of SFT answers")
        proxy = answers.matrix("proxy", count)
        sd = within_sd(proxy)
        if like is None and "token_ids" in rows.column_names:
            like = like_others(rows["token_ids"], count)
        names = tuple(answers.values)
        values = np.stack([answers.matrix(name, count) for name in names])
        same = SAME_SCORE * float(proxy.std()) / sd
        where = (answers.prompt, answers.cluster)
        return cls(*where, proxy / sd, same, names, values, answers.initial(count), like)

    @property
    def answers(self) -> int:
        """N."""
        return self.score.shape[1]

    @cached_property
    def ranking(self) -> Ranking:
        """Of the answers by score."""
        return estimator.rank(self.score, self.same)

    @cached_property
    def ranked(self) -> Floats:
        """(V, Q, N): the values in ascending order of the score, answers that tie at their mean."""
        return _by_rank(self.ranking, self.values)

    def only(self, kept: NDArray[np.bool_]) -> Table:
        """The prompts that are `kept` (Q,)."""
        cluster = self.cluster[kept]
        return replace(
            self,
            prompts=self.prompts[kept],
            cluster=cluster,
            score=self.score[kept],
            values=self.values[:, kept],
            initial=self.initial.at(np.unique(cluster)),
            like=None if self.like is None else self.like[kept],
        )

    def curves(self, points: Ints, good: NDArray[np.bool_], chosen: Chosen) -> Curves:
        """Averaged over the prompts of each question."""
        values = {
            name: cluster_means(value, self.cluster)
            for name, value in zip(self.names, chosen.values, strict=True)
        }
        tilts = self.initial.tilts
        needed = None if tilts is None else tilts.of_questions(self.prompts, self.cluster)
        kl = cluster_means(chosen.kl, self.cluster)
        questions = np.unique(self.cluster)
        return Curves(questions, points, kl, good, values, self.initial, TIE_AWARE, needed)


def best_of_n(table: Table, n: ArrayLike, proximity: float = 0.0) -> Chosen:
    """The highest proxy + proximity x likeness among n; without `proximity`, best-of-n."""
    if proximity:
        ranking = estimator.rank(near_others(table, proximity), table.same)
        ranked = _by_rank(ranking, table.values)
    else:
        ranking, ranked = table.ranking, table.ranked
    return Chosen(
        _curves(ranked, lambda rows: estimator.ranked_curves(rows, n)), estimator.ranking_kl(ranking, n)
    )


def near_others(table: Table, proximity: float) -> Floats:
    """(Q, N) proxy + proximity x likeness to the other answers, each in SDs."""
    if table.like is None:
        raise ValueError("likeness to the other answers needs the column token_ids")
    return table.score + proximity * table.like


def best_of_poisson(table: Table, n: ArrayLike) -> Chosen:
    """The best of 1 + Poisson(n - 1), n any numbers from 1 on."""
    values = _curves(table.ranked, lambda rows: estimator.poisson_curves(rows, n))
    return Chosen(values, estimator.poisson_kl(table.ranking, n))


def soft_best_of_n(table: Table, n: ArrayLike, inverse_temperature: float) -> Chosen:
    """One of n with chances proportional to exp(inverse_temperature x proxy)."""
    values = soft.curves(table.score, table.values, n, inverse_temperature)
    return Chosen(values, soft.kl(table.score, n, inverse_temperature))


def pessimistic(table: Table, n: Ints, beta: float) -> Chosen:
    """One of n with chances proportional to relu(proxy - level) / beta of mean 1."""
    values = pessimism.curves(table.score, table.values, n, beta)
    return Chosen(values, pessimism.kl(table.score, n, beta))


def _by_rank(ranking: Ranking, values: Floats) -> Floats:
    """(V, Q, N): values in the order of a ranking, answers that tie at their mean."""
    return np.stack([estimator.tie_averaged(ranking, value) for value in values])


def _curves(ranked: Floats, curves: Callable[[Floats], Floats]) -> Floats:
    """(V, Q, K): every value's curves of ranked answers (V, Q, N)."""
    return curves(ranked.reshape(-1, ranked.shape[2])).reshape(*ranked.shape[:2], -1)
