"""What the answers of the initial policy say of a run's scales, and of how much KL a rise of the proxy needs.

A policy whose proxy is x above the initial policy's has a KL of at least max over s of s x - log E exp(s (proxy - E
proxy)) (Donsker and Varadhan). The log is the proxy's cumulant function, which is estimated here at a few tilts s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.best_of_n.estimator import portions
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_EFFECTIVE = 30  # answers: harmonic mean over prompts under the strongest tilt
STRENGTHS = 0.05 * 1.15 ** np.arange(40)  # per SD of the proxy: .05 to 11.6


@dataclass(frozen=True)
class InitialScales:
    """The scales of a run by question, from answers of the initial policy; NaN where a question has no answers."""

    questions: Ints  # (C,)
    gold: Floats  # (C,) mean
    gold_squared: Floats  # (C,) mean
    covariance: Floats  # (C,) of gold and proxy within a prompt; NaN where a prompt has one answer
    proxy_variance: Floats  # (C,) within a prompt
    tilts: Tilts | None  # None from few answers

    @classmethod
    def joined(cls, parts: Sequence[InitialScales]) -> InitialScales:
        """Return the scales of the questions of all `parts`, without tilts."""
        columns = ("questions", "gold", "gold_squared", "covariance", "proxy_variance")
        return cls(
            *(np.concatenate([getattr(part, column) for part in parts]) for column in columns), tilts=None
        )

    def at(self, questions: Ints) -> InitialScales:
        """Return the scales of `questions`, in that order."""
        place = np.searchsorted(self.questions, questions)
        place = np.minimum(place, len(self.questions) - 1)
        known = self.questions[place] == questions
        columns = {
            name: np.where(known, getattr(self, name)[place], np.nan)
            for name in ("gold", "gold_squared", "covariance", "proxy_variance")
        }
        return replace(self, questions=questions, **columns)


@dataclass(frozen=True)
class Tilts:
    """The proxy's cumulant function on the initial policy: log E exp(strength (proxy - E proxy)), of each prompt."""

    prompts: Ints  # (Q,) ascending
    strengths: Floats  # (L,) per unit of the proxy
    mean: Floats  # (Q,) of the proxy
    cumulant: Floats  # (Q, L) nats

    @classmethod
    def of(cls, prompts: Ints, proxy: Floats) -> Tilts | None:
        """Return the tilts of proxies (Q, N) in any precision; None where the answers are too few for any tilt.

        A strength is kept while the answers have an effective number, its harmonic mean over prompts, of 30:
        the log of a mean of N weights is too low by half of 1/effective - 1/N, which is added, and whose mean
        over prompts this harmonic mean is. So what is corrected is under 1/60 nat, and no single prompt
        decides.
        """
        mean, variance, top = _by_portions(
            proxy, lambda part: (part.mean(axis=1), part.var(axis=1), part.max(axis=1))
        )
        spread = np.sqrt(variance.mean())
        columns, strengths = [], []
        for strength in STRENGTHS / spread if spread > 0 else ():
            total, square = _by_portions(proxy, lambda part, strength=strength: _tilt(part, strength))
            share = square / total**2  # 1 / effective number
            if share.mean() * LEAST_EFFECTIVE > 1:
                break
            log_mean = np.log(total / proxy.shape[1]) - strength * (mean - top)
            columns.append(log_mean + (share - 1 / proxy.shape[1]) / 2)
            strengths.append(strength)
        if not columns:
            return None
        order = np.argsort(prompts)
        return cls(prompts[order], np.array(strengths), mean[order], np.stack(columns, axis=1)[order])

    def of_questions(self, prompts: Ints, cluster: Ints) -> Needed | None:
        """Return the mean over `prompts` (S,) of each question in `cluster` (S,); None if a prompt is not known."""
        place = np.searchsorted(self.prompts, prompts).clip(max=len(self.prompts) - 1)
        if (self.prompts[place] != prompts).any():
            return None
        mean, cumulant = (cluster_means(column[place], cluster) for column in (self.mean, self.cumulant))
        return Needed(self.strengths, mean, cumulant)


def _by_portions(proxy: Floats, columns: Callable[[Floats], tuple[Floats, ...]]) -> list[Floats]:
    """Return `columns` (Q,) of proxies (Q, N), computed a few prompts in double precision at a time."""
    parts = [columns(proxy[part].astype(float)) for part in portions(*proxy.shape)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _tilt(proxy: Floats, strength: float) -> tuple[Floats, Floats]:
    """Return the sum of the weights exp(strength proxy), the highest 1, and that of their squares, each (Q,)."""
    weight = proxy - proxy.max(axis=1, keepdims=True)
    weight *= strength
    np.exp(weight, out=weight)
    total = weight.sum(axis=1)
    return total, np.square(weight, out=weight).sum(axis=1)


class Needed(NamedTuple):
    """The proxy's cumulant function of each question of a curve, which bounds KL from below."""

    strengths: Floats  # (L,)
    mean: Floats  # (C,)
    cumulant: Floats  # (C, L)
