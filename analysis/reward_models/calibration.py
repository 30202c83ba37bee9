"""Whether a reward model is right as often as its Bradley-Terry probabilities say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10  # of equal mass


class Reliability(NamedTuple):
    """Pairs in B bins of equal mass by confidence, the least confident first; each column is (B,)."""

    count: NDArray[np.int64]
    confidence: Floats  # mean probability of the side with the higher reward
    accuracy: Floats

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over pairs."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))

    @property
    def ece_of_calibrated(self) -> float:
        """Roughly the error that chance alone gives where every probability is right: the mean of |normal| of each
        bin.
        """
        spread = np.sqrt(self.confidence * (1 - self.confidence) / self.count)
        return float(np.average(np.sqrt(2 / np.pi) * spread, weights=self.count))


def agreement(reward: Floats, preferred: Floats) -> Floats:
    """Return how far the sign of `reward` (P,) agrees with the share `preferred` (P,) that prefers the first side,
    (P,).

    `reward` is the first side's less the second's; equal rewards count as a coin.
    """
    return np.where(reward > 0, preferred, np.where(reward < 0, 1 - preferred, 0.5))


def log_loss(reward: Floats, preferred: Floats) -> Floats:
    """Return the cross-entropy in nats, (P,), of sigmoid(reward) against the share that prefers the first side."""
    return preferred * np.logaddexp(0, -reward) + (1 - preferred) * np.logaddexp(0, reward)


def reliability(reward: Floats, preferred: Floats, bins: int = BINS) -> Reliability:
    """Return the reliability curve of pairs with differences `reward` (P,), of which `preferred` (P,) prefer the first
    side.

    A pair counts by its surer side, so that it does not matter which side comes first.
    """
    confidence = 1 / (1 + np.exp(-np.abs(reward)))
    right = agreement(reward, preferred)
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    means = [(len(part), confidence[part].mean(), right[part].mean()) for part in parts]
    count, sure, accurate = (np.array(column) for column in zip(*means, strict=True))
    return Reliability(count, sure, accurate)
