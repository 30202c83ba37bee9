"""From the rows of one run to numbers per question and point of its curve; everything else is a mean of them.

A point is an n of best-of-n or a checkpoint of a trained policy. Normalisation (2210.10760, section 2.2) is
done on means, so a bootstrap that weights questions renormalises at every draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis import bestofn
from analysis.resampling import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME_SCORE = 1e-5  # SDs of the proxy: the same answer scored in another batch differs by rounding, 1e-6 or so
WELL_FORMED_FORM = -1e-6  # gold.form of an answer that lost nothing, up to rounding


@dataclass(frozen=True)
class Initial:
    """What the initial policy's answers say of the scales, per question; a question without answers is
    NaN.
    """

    questions: Ints  # (C,)
    gold: Floats  # (C,) mean
    gold_squared: Floats  # (C,) mean
    covariance: Floats  # (C,) of gold and proxy within a prompt; NaN where a prompt has one answer
    proxy_variance: Floats  # (C,) within a prompt

    def at(self, questions: Ints) -> Initial:
        """The same for `questions` in that order."""
        place = np.searchsorted(self.questions, questions)
        place = np.minimum(place, len(self.questions) - 1)
        known = self.questions[place] == questions
        columns = (self.gold, self.gold_squared, self.covariance, self.proxy_variance)
        return Initial(questions, *(np.where(known, column[place], np.nan) for column in columns))


class Normalised(NamedTuple):
    """Weighted means over questions, each (..., K): gold and its parts in gold SDs, the proxy by its slope of
    gold.
    """

    kl: Floats  # nats
    values: dict[str, Floats]

    @property
    def d(self) -> Floats:
        """sqrt(KL), nats^0.5."""
        return np.sqrt(np.maximum(self.kl, 0))


@dataclass(frozen=True)
class Curves:
    """One run: raw means per question (C) and point (K)."""

    questions: Ints  # (C,) ascending
    points: Ints  # (K,) n, or optimiser steps; the first is the initial policy
    kl: Floats  # (C, K) nats
    kl_good: NDArray[np.bool_]  # (K,) whether this estimate of KL holds at the point
    values: Mapping[str, Floats]  # (C, K) of gold, proxy, content, form, well_formed, well_formed_content
    initial: Initial

    def scale(self, weights: Floats) -> tuple[Floats, Floats]:
        """SD of gold on the initial policy and the within-prompt slope of gold on proxy, under weights (...,
        C).
        """
        start = self.initial
        mean, square = _mean(start.gold, weights), _mean(start.gold_squared, weights)
        slope = _mean(start.covariance, weights) / _mean(start.proxy_variance, weights)
        return np.sqrt(square - mean**2), slope

    def normalised(self, weights: Floats | None = None) -> Normalised:
        """The run's curves with questions weighted by `weights` (..., C), by default each once."""
        weights = np.ones(len(self.questions)) if weights is None else weights
        sd, slope = (scale[..., None] for scale in self.scale(weights))
        total = weights.sum(axis=-1, keepdims=True)
        means = {name: weights @ value / total for name, value in self.values.items()}
        curves = {
            name: (means[name] - means[name][..., :1]) / sd
            for name in ("gold", "content", "form")
            if name in means
        }
        curves["proxy"] = (means["proxy"] - means["proxy"][..., :1]) * slope / sd
        curves["well_formed"] = means["well_formed"]
        curves["well_formed_content"] = _ratio_from_start(means) / sd
        return Normalised(weights @ self.kl / total, curves)

    def by_question(self, name: str) -> Floats:
        """(C, K): `name` of each question up to a constant of the run, for paired tests.

        Gold and its parts are in SDs of gold. The proxy is in its own SDs within a prompt, not on gold's
        scale: that turns it round where a bad reward model's slope is negative.
        """
        ones = np.ones(len(self.questions))
        if name == "proxy":
            return self.values[name] / np.sqrt(_mean(self.initial.proxy_variance, ones))
        sd, _ = self.scale(ones)
        if name == "well_formed_content":
            return _linearised_ratio(self.values["well_formed_content"], self.values["well_formed"]) / sd
        return self.values[name] / sd


def best_of_n_curves(rows: pa.Table) -> Curves:
    """The curves of a run of best-of-n from its table of N answers to each prompt."""
    table = _Answers.of(rows)
    count = table.answers("best-of-n")
    proxy = table.matrix("proxy", count)
    points = bestofn.grid(count)
    ranking = bestofn.rank(proxy, SAME_SCORE * float(proxy.std()))

    ranked = [bestofn.tie_averaged(ranking, table.matrix(name, count)) for name in table.values]
    by_prompt = np.split(bestofn.ranked_curves(np.concatenate(ranked), points), len(ranked))
    curves = {
        name: cluster_means(curve, table.cluster) for name, curve in zip(table.values, by_prompt, strict=True)
    }
    kl = cluster_means(bestofn.ranking_kl(ranking, points), table.cluster)
    return Curves(np.unique(table.cluster), points, kl, points <= count // 4, curves, table.initial(count))


def checkpoint_curves(rows: pa.Table, initial: Initial | None = None) -> Curves:
    """The curves of a trained policy over its checkpoints; `initial` comes from best-of-n of the same reward
    model.
    """
    table = _Answers.of(rows)
    points = np.unique(table.checkpoint)
    if points[0] != 0:
        raise ValueError(f"a curve starts at the initial policy, checkpoint 0; the first is {points[0]}")
    cluster = table.cluster.reshape(len(points), -1) if len(table.starts) % len(points) == 0 else None
    if cluster is None or (cluster != cluster[0]).any():
        raise ValueError("the checkpoints were not all evaluated on the prompts of checkpoint 0")

    def curve(values: Floats) -> Floats:
        """(C, K): the mean over prompts of the mean over answers."""
        return cluster_means(table.prompt_means(values).reshape(len(points), -1).T, cluster[0])

    curves = {name: curve(values) for name, values in table.values.items()}
    kl = curves.pop("kl")
    questions = np.unique(cluster[0])
    if initial is None:
        start = table.first_checkpoint()
        initial = start.initial(start.answers("checkpoint 0"))
    return Curves(questions, points, kl, np.ones(len(points), dtype=bool), curves, initial.at(questions))


@dataclass(frozen=True)
class _Answers:
    """Scores of answers in order of checkpoint, question and prompt."""

    starts: Ints  # (S,) where the answers to each prompt at each checkpoint begin
    checkpoint: Ints  # (S,)
    cluster: Ints  # (S,) the prompt's question
    values: dict[str, Floats]  # name -> (A,)

    @staticmethod
    def of(rows: pa.Table) -> _Answers:
        """The scores of one run's rows; a table without checkpoints is all of one."""
        prompt, question = (rows[name].to_numpy().astype(np.int64) for name in ("prompt_id", "question_id"))
        several = "checkpoint" in rows.column_names
        checkpoint = rows["checkpoint"].to_numpy() if several else np.zeros_like(prompt)
        place = (checkpoint * (question.max() + 1) + question) * (prompt.max() + 1) + prompt
        in_order = (np.diff(place) >= 0).all()  # as stages leave them
        order = slice(None) if in_order else np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        values = {name: column[order] for name, column in _scores(rows).items()}
        return _Answers(starts, checkpoint[order][starts], question[order][starts], values)

    def first_checkpoint(self) -> _Answers:
        """The answers of the first checkpoint alone."""
        prompts = int((self.checkpoint == self.checkpoint[0]).sum())
        end = None if prompts == len(self.starts) else self.starts[prompts]
        values = {name: value[:end] for name, value in self.values.items()}
        return _Answers(self.starts[:prompts], self.checkpoint[:prompts], self.cluster[:prompts], values)

    def answers(self, what: str) -> int:
        """How many answers each prompt has."""
        counts = np.diff(self.starts, append=len(self.values["gold"]))
        if (counts != counts[0]).any():
            raise ValueError(
                f"{what} has {counts.min()} to {counts.max()} answers a prompt, not the same for all"
            )
        return int(counts[0])

    def matrix(self, name: str, count: int) -> Floats:
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
        return Initial(np.unique(self.cluster), *(cluster_means(column, self.cluster) for column in columns))


def _scores(rows: pa.Table) -> dict[str, Floats]:
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


def _mean(values: Floats, weights: Floats) -> Floats:
    """Mean of values (C,) over the questions that have one, under weights (..., C); NaN when none has."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(weights.shape[:-1], np.nan)
    return weights[..., known] @ values[known] / weights[..., known].sum(axis=-1)


def _ratio_from_start(means: Mapping[str, Floats]) -> Floats:
    """Content among well-formed answers, less what it is on the initial policy; NaN where no answer is
    well-formed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = means["well_formed_content"] / means["well_formed"]
    return ratio - ratio[..., :1]


def _linearised_ratio(top: Floats, bottom: Floats) -> Floats:
    """(C, K) whose mean over questions is mean(top)/mean(bottom), with the spread that the ratio has (delta
    method).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top.mean(axis=0) / bottom.mean(axis=0)
        return ratio + (top - ratio * bottom) / bottom.mean(axis=0)
