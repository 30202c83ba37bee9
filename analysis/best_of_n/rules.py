"""Tables of scored answers, and what each rule of selection expects of the answer that it chooses.

A rule draws n of the N answers to a prompt and chooses one of them. Scores are in standard deviations (SDs) of
the proxy within prompts. The KL of a rule takes the N answers to a prompt for the whole distribution of the
initial policy: it compares an answer's chance with 1/N, and answers with equal scores share their chance. It
holds for n <= N/4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from analysis.best_of_n import estimator, pessimism, soft_best_of_n
from analysis.best_of_n.answer_table import Answers, in_order, pooled_sd, same_count, starts
from analysis.best_of_n.curves import TIE_AWARE, Curves
from analysis.best_of_n.estimator import PORTION, Ranking
from analysis.best_of_n.initial_policy import InitialScales, Tilts
from analysis.best_of_n.mbr_utility import like_others
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME_SCORE = 1e-5  # SDs of all proxies; scores of one answer in two batches differ by about 1e-6
TOKENS = "token_ids"


class Expected(NamedTuple):
    """The expectation of a rule's choice at K values of n."""

    values: Floats  # (V, Q, K)
    kl: Floats  # (Q, K) nats


@dataclass(frozen=True)
class Table:
    """N answers of the initial policy to each of Q prompts, with V scores of each answer."""

    prompts: Ints  # (Q,)
    cluster: Ints  # (Q,) the prompt's question
    score: Floats  # (Q, N) proxy in SDs within prompts
    same: float  # two scores that differ by no more than this tie
    names: tuple[str, ...]  # (V,)
    values: Floats  # (V, Q, N)
    initial: InitialScales
    like: Floats | None = None  # (Q, N) likeness to the other answers, in SDs within prompts

    @property
    def answers(self) -> int:
        """N, the number of answers to each prompt."""
        return self.score.shape[1]

    @cached_property
    def ranking(self) -> Ranking:
        """The ranking of the answers by score."""
        return estimator.rank(self.score, self.same)

    @cached_property
    def ranked(self) -> Floats:
        """(V, Q, N): the values in ascending order of the score; answers that tie have their mean."""
        return self._in_order_of(self.ranking)

    def near_others(self, proximity: float) -> Floats:
        """Return the score plus `proximity` times the likeness to the other answers, (Q, N), each in SDs."""
        if self.like is None:
            raise ValueError(f"likeness to the other answers needs the column {TOKENS}")
        return self.score + proximity * self.like

    def only(self, kept: NDArray[np.bool_]) -> Table:
        """Return the table of the prompts that are `kept` (Q,)."""
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

    def expected(self, method: str, policy: Mapping[str, Any], n: ArrayLike) -> Expected:
        """Return the expectation of the rule `method` with the settings `policy` at each of `n` (K,).

        `n` are whole numbers; of best-of-Poisson, which draws 1 + Poisson(n - 1) answers, any numbers from 1
        on.
        """
        if method == "Pessimism":  # chances proportional to relu(score - level) / beta
            beta = policy["beta"]
            n = np.asarray(n)
            values = pessimism.curves(self.score, self.values, n, beta)
            return Expected(values, pessimism.kl(self.score, n, beta))
        if method == "SoftBestOfN":  # chances proportional to exp(inverse temperature x score)
            strength = policy["inverse_temperature"]
            values = soft_best_of_n.curves(self.score, self.values, n, strength)
            return Expected(values, soft_best_of_n.kl(self.score, n, strength))
        if method == "BestOfPoisson":
            values = _curves(self.ranked, lambda rows: estimator.poisson_curves(rows, n))
            return Expected(values, estimator.poisson_kl(self.ranking, n))
        ranking, ranked = self.ranking, self.ranked
        if method == "MBRBestOfN" and policy["proximity"]:  # the highest proxy + proximity x likeness
            ranking = estimator.rank(self.near_others(policy["proximity"]), self.same)
            ranked = self._in_order_of(ranking)
        values = _curves(ranked, lambda rows: estimator.ranked_curves(rows, n))
        return Expected(values, estimator.ranking_kl(ranking, n))

    def curves(self, points: Ints, good: NDArray[np.bool_], expected: Expected) -> Curves:
        """Return the curves over `points` (K,), averaged over the prompts of each question."""
        values = {
            name: cluster_means(value, self.cluster)
            for name, value in zip(self.names, expected.values, strict=True)
        }
        tilts = self.initial.tilts
        return Curves(
            questions=np.unique(self.cluster),
            points=points,
            kl=cluster_means(expected.kl, self.cluster),
            kl_good=good,
            values=values,
            initial=self.initial,
            estimator=TIE_AWARE,
            needed=None if tilts is None else tilts.of_questions(self.prompts, self.cluster),
        )

    def _in_order_of(self, ranking: Ranking) -> Floats:
        return np.stack([estimator.tie_averaged(ranking, value) for value in self.values])


def _curves(ranked: Floats, curves: Callable[[Floats], Floats]) -> Floats:
    """Return the curves (V, Q, K) of ranked answers (V, Q, N)."""
    return curves(ranked.reshape(-1, ranked.shape[2])).reshape(*ranked.shape[:2], -1)


def whole_table(rows: pa.Table, like: Floats | None = None) -> Table:
    """Return a run's rows as one table; see `tables`."""
    (table,) = tables(rows, like, portion=rows.num_rows)
    return table


def tables(
    rows: pa.Table, like: Floats | None = None, tilted: bool = True, portion: int = PORTION
) -> Iterator[Table]:
    """Yield a run's rows as tables of about `portion` answers each, in the units of all rows.

    A table holds whole questions, so its curves are those that its questions have among all rows. Only one
    table is in double precision at a time. `like` (Q, N) is the likeness to the other answers in SDs
    (`like_others`); by default it is computed where the rows have `token_ids`. Without `tilted` the tables do
    not say how much KL a rise of the proxy needs, which takes time to compute.

    Raises ValueError if prompts have different numbers of answers.
    """
    rows = in_order(rows)
    begin = starts(rows)
    count = same_count(begin, rows.num_rows, "the table of SFT answers")
    if like is None and TOKENS in rows.column_names:
        like = like_others(rows[TOKENS], count)
    question = rows["question_id"].to_numpy()[begin]
    opens = np.append(begin[np.diff(question, prepend=-1) != 0], rows.num_rows)
    aimed = np.arange(0, rows.num_rows + portion, portion)
    bounds = np.unique(opens[np.searchsorted(opens, aimed).clip(max=len(opens) - 1)])
    parts = [slice(first, last) for first, last in pairwise(bounds.tolist())]
    sd, same, initial = _scales(rows, parts, count, tilted)
    for part in parts:
        answers = _answers(rows, part, count)
        yield Table(
            prompts=answers.prompt,
            cluster=answers.cluster,
            score=answers.matrix("proxy", count) / sd,
            same=same,
            names=tuple(answers.values),
            values=np.stack([answers.matrix(name, count) for name in answers.values]),
            initial=initial,
            like=None if like is None else like[part.start // count : part.stop // count],
        )


def _answers(rows: pa.Table, part: slice, count: int) -> Answers:
    size = part.stop - part.start
    return Answers.starting(rows.slice(part.start, size), np.arange(0, size, count))


def _scales(
    rows: pa.Table, parts: list[slice], count: int, tilted: bool
) -> tuple[float, float, InitialScales]:
    """Return the proxy's SD within prompts, the tolerance of ties in such SDs, and the initial policy's scales."""
    needed = rows.select(["question_id", "prompt_id", "gold", "proxy"])
    means, variances, largest, moments, prompts = [], [], 0.0, [], []
    for part in parts:
        answers = _answers(needed, part, count)
        proxy = answers.matrix("proxy", count)
        means.append(proxy.mean(axis=1))
        variances.append(proxy.var(axis=1))
        largest = max(largest, float(np.abs(proxy).max()))
        moments.append(answers.moments(count))
        prompts.append(answers.prompt)
    variance = np.concatenate(variances)
    sd = pooled_sd(variance, count, largest)
    total = float(np.sqrt(variance.mean() + np.concatenate(means).var()))
    initial = InitialScales.joined(moments)
    if tilted:
        stored = rows["proxy"].to_numpy().reshape(-1, count)
        initial = replace(initial, tilts=Tilts.of(np.concatenate(prompts), stored))
    return sd, SAME_SCORE * total / sd, initial
