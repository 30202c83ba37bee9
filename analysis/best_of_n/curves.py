"""The curve of one run: gold, proxy and KL of each question at each point.

A point is an n of best-of-n or a checkpoint of a trained policy. Means over questions are normalised
(2210.10760, section 2.2), so a bootstrap that weights questions normalises again in every draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n.answer_table import Answers
from analysis.best_of_n.initial_policy import InitialScales, Needed
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The names of the estimators of KL.
TIE_AWARE = "tie-aware plug-in"  # from the chances of the answers of a table; equal scores share theirs
EXACT = "exact per position"  # over the whole vocabulary, at the positions of sampled answers


class Normalised(NamedTuple):
    """Weighted means over questions, each (..., K), less their value on the initial policy.

    Gold and its parts are in SDs of gold, the proxy in its own SDs within a prompt. `recalibrated` is the proxy times
    the slope of gold on it, in SDs of gold (2210.10760, section 2.2); it falls where the slope is negative.
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
    initial: InitialScales
    estimator: str  # of KL
    needed: Needed | None  # the KL that a rise of the proxy needs; None from too few answers

    def on(self, questions: Ints) -> Curves:
        """Return the curves of some of the questions; raises ValueError where one of them is not among them."""
        place = np.searchsorted(self.questions, questions)
        if (self.questions[place.clip(max=len(self.questions) - 1)] != questions).any():
            raise ValueError("a curve is asked for on questions that it was not evaluated on")
        values = {name: value[place] for name, value in self.values.items()}
        needed = self.needed
        if needed is not None:
            needed = Needed(needed.strengths, needed.mean[place], needed.cumulant[place])
        initial = self.initial.at(questions)
        return replace(
            self, questions=questions, kl=self.kl[place], values=values, initial=initial, needed=needed
        )

    @staticmethod
    def joined(parts: Sequence[Curves]) -> Curves:
        """Return the curves of the questions of all `parts`, which follow on one another and share their scales."""
        first = parts[0]
        if len(parts) == 1:
            return first
        needed = None
        if first.needed is not None:
            known = [part.needed for part in parts if part.needed is not None]
            needed = first.needed._replace(
                mean=np.concatenate([part.mean for part in known]),
                cumulant=np.concatenate([part.cumulant for part in known]),
            )
        return replace(
            first,
            questions=np.concatenate([part.questions for part in parts]),
            kl=np.concatenate([part.kl for part in parts]),
            values={name: np.concatenate([part.values[name] for part in parts]) for name in first.values},
            needed=needed,
        )

    def scale(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the SD of gold on the initial policy and the slope of gold on the proxy within prompts.

        Questions are weighted by `weights` (..., C); each result is (...).
        """
        start = self.initial
        mean, square = _mean(start.gold, weights), _mean(start.gold_squared, weights)
        slope = _mean(start.covariance, weights) / _mean(start.proxy_variance, weights)
        return np.sqrt(square - mean**2), slope

    def normalised(self, weights: Floats | None = None) -> Normalised:
        """Return the run's curves with questions weighted by `weights` (..., C), by default equally."""
        weights = np.ones(len(self.questions)) if weights is None else weights
        sd, slope = (scale[..., None] for scale in self.scale(weights))
        total = weights.sum(axis=-1, keepdims=True)
        means = {name: weights @ value / total for name, value in self.values.items()}
        curves = {
            name: (means[name] - means[name][..., :1]) / sd
            for name in ("gold", "content", "form")
            if name in means
        }
        gained = means["proxy"] - means["proxy"][..., :1]
        curves["proxy"] = gained / np.sqrt(_mean(self.initial.proxy_variance, weights))[..., None]
        curves["recalibrated"] = gained * slope / sd
        curves["well_formed"] = means["well_formed"]
        curves["well_formed_content"] = _ratio_from_start(means) / sd
        return Normalised(weights @ self.kl / total, curves)

    def by_question(self, name: str) -> Floats:
        """Return `name` of each question, (C, K), up to a constant of the run, for paired tests.

        Gold and its parts are in SDs of gold. The proxy is in its own SDs within a prompt and not on gold's
        scale, which would change its sign where a bad reward model's slope is negative.
        """
        ones = np.ones(len(self.questions))
        if name == "proxy":
            return self.values[name] / np.sqrt(_mean(self.initial.proxy_variance, ones))
        sd, _ = self.scale(ones)
        if name == "well_formed_content":
            return _linearised_ratio(self.values["well_formed_content"], self.values["well_formed"]) / sd
        return self.values[name] / sd


def checkpoint_curves(rows: pa.Table, initial: InitialScales | None = None) -> Curves:
    """Return the curves of a trained policy over its checkpoints.

    `initial` holds the scales of best-of-n with the same reward model; by default the answers of checkpoint 0
    give them. Raises ValueError where there is no checkpoint 0, or where checkpoints have different prompts.
    """
    table = Answers.of(rows)
    points = np.unique(table.checkpoint)
    if points[0] != 0:
        raise ValueError(f"a curve starts at the initial policy, checkpoint 0; the first is {points[0]}")
    cluster = table.cluster.reshape(len(points), -1) if len(table.starts) % len(points) == 0 else None
    if cluster is None or (cluster != cluster[0]).any():
        raise ValueError("the checkpoints were not all evaluated on the prompts of checkpoint 0")

    def curve(values: Floats) -> Floats:
        """Return the mean over a question's prompts of the mean over answers, (C, K)."""
        return cluster_means(table.prompt_means(values).reshape(len(points), -1).T, cluster[0])

    curves = {name: curve(values) for name, values in table.values.items()}
    kl = curves.pop("kl")
    questions = np.unique(cluster[0])
    if initial is None:
        start = table.first_checkpoint()
        initial = start.initial(start.answers("checkpoint 0"))
    good, prompts = np.ones(len(points), dtype=bool), table.prompt[: len(cluster[0])]
    needed = None if initial.tilts is None else initial.tilts.of_questions(prompts, cluster[0])
    return Curves(questions, points, kl, good, curves, initial.at(questions), EXACT, needed)


def _mean(values: Floats, weights: Floats) -> Floats:
    """Return the mean of values (C,) over the questions that have one, under weights (..., C); NaN where none has."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(weights.shape[:-1], np.nan)
    return weights[..., known] @ values[known] / weights[..., known].sum(axis=-1)


def _ratio_from_start(means: Mapping[str, Floats]) -> Floats:
    """Return content among well-formed answers less its value on the initial policy; NaN where no answer is
    well-formed.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = means["well_formed_content"] / means["well_formed"]
    return ratio - ratio[..., :1]


def _linearised_ratio(top: Floats, bottom: Floats) -> Floats:
    """Return numbers (C, K) whose mean over questions is mean(top) / mean(bottom) and whose spread is its
    (delta method).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top.mean(axis=0) / bottom.mean(axis=0)
        return ratio + (top - ratio * bottom) / bottom.mean(axis=0)


def kl_axis(estimators: Iterable[str]) -> str:
    """Return the label of a KL axis whose curves have their KL from these `estimators`."""
    return f"KL from SFT (nats): {', '.join(dict.fromkeys(estimators))}"
