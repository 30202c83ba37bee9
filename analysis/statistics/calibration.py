"""Whether a reward model is right as often as its Bradley-Terry probabilities say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 10  # of equal mass


class Reliability(NamedTuple):
    """Pairs in bins of equal mass by confidence, (B,) each, the least confident first."""

    count: NDArray[np.int64]
    confidence: Floats  # mean probability of the side with the higher reward
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence| over pairs."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))

    @property
    def ece_of_calibrated(self) -> float:
        """About what the error comes to by chance where every probability is right: mean |normal| of each bin."""
        spread = np.sqrt(self.confidence * (1 - self.confidence) / self.count)
        return float(np.average(np.sqrt(2 / np.pi) * spread, weights=self.count))


def agreement(reward: Floats, preferred: Floats) -> Floats:
    """(P,): how far the sign of `reward` (P,), first side less second, agrees with the share (P,) that prefers the
    first; equal rewards are a coin.
    """
    return np.where(reward > 0, preferred, np.where(reward < 0, 1 - preferred, 0.5))


def log_loss(reward: Floats, preferred: Floats) -> Floats:
    """(P,) nats: cross-entropy of sigmoid(reward) against the share that prefers the first side."""
    return preferred * np.logaddexp(0, -reward) + (1 - preferred) * np.logaddexp(0, reward)


def reliability(reward: Floats, preferred: Floats, bins: int = BINS) -> Reliability:
    """The curve of pairs with differences `reward` (P,), of which the share `preferred` (P,) is for the first side.

    A pair counts by its surer side, so that it does not matter which side comes first.
    """
    confidence = 1 / (1 + np.exp(-np.abs(reward)))
    right = agreement(reward, preferred)
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    means = [(len(part), confidence[part].mean(), right[part].mean()) for part in parts]
    count, sure, accurate = (np.array(column) for column in zip(*means, strict=True))
    return Reliability(count, sure, accurate)
