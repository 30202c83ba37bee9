"""Curves of gold over a training run whose shape is known, with the chances of runs, questions and answers.

A curve of replicate r, question c and checkpoint k is a level of the question, plus the shape at k (which is larger for
some questions than for others), plus how the run wandered off the shape until k, plus chance in the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = Callable[[Floats], Floats]  # of the share of the training (K,), in SDs of gold

# SDs of gold, as large as those of PPO on the embedded task
LEVEL = 0.7  # over questions, of gold on the initial policy
DRIFT = 0.4  # over questions, of the change until the end
RUN = 0.1  # over runs, of gold at the end
ANSWERS = 0.7  # over the answers to one prompt


@dataclass(frozen=True)
class Training:
    """How much is measured, and how far runs are apart."""

    replicates: int = 5
    questions: int = 130
    answers: int = 4  # to each question at each checkpoint
    checkpoints: int = 13  # with the initial policy
    run: float = RUN
    jitter: float = 0.0  # SD over runs of gold at a checkpoint, independent of its neighbours


def curves(shape: Shape, training: Training, rng: np.random.Generator) -> Floats:
    """Return gold (R, C, K) of runs whose mean has this `shape`; at the first checkpoint all are the initial policy."""
    runs, questions, points = training.replicates, training.questions, training.checkpoints
    time = np.linspace(0, 1, points)
    level = LEVEL * rng.normal(size=(1, questions, 1))
    of_question = DRIFT * rng.normal(size=(1, questions, 1)) * time
    steps = rng.normal(size=(runs, 1, points - 1)) / np.sqrt(points - 1)
    wandered = np.concatenate([np.zeros((runs, 1, 1)), training.run * steps.cumsum(axis=2)], axis=2)
    jitter = training.jitter * rng.normal(size=(runs, 1, points)) * (time > 0)
    chance = ANSWERS / np.sqrt(training.answers) * rng.normal(size=(runs, questions, points))
    return shape(time) + level + of_question + wandered + jitter + chance


def flat(time: Floats) -> Floats:
    """Return gold that stays where it is."""
    return np.zeros_like(time)


def plateau(time: Floats) -> Floats:
    """Return gold that rises by half an SD and stays there."""
    return 0.5 * np.minimum(2 * time, 1.0)


def rising(time: Floats) -> Floats:
    """Return gold that rises by half an SD to the end."""
    return 0.5 * time


def falling(time: Floats) -> Floats:
    """Return gold that falls by half an SD from the start."""
    return -0.5 * time


def turning(height: float) -> Shape:
    """Return gold that rises by `height` SDs until half of the training, and falls as far."""
    return lambda time: height * (1 - (2 * time - 1) ** 2)


Kind = tuple[Shape, dict[str, float]]  # a shape, and what its training has that is not usual
NO_TURN: dict[str, Kind] = {
    "flat": (flat, {}),
    "rises to a plateau": (plateau, {}),
    "rises on": (rising, {}),
    "falls from the start": (falling, {}),
    "flat, 49 noisy checkpoints": (flat, {"checkpoints": 49, "answers": 1}),
    "flat, runs jump by 0.1 SD at each checkpoint": (flat, {"jitter": 0.1}),
    "flat, runs jump by 0.3 SD at each checkpoint": (flat, {"jitter": 0.3}),
}
TURN: dict[str, Kind] = {f"turns by {height:g} SD": (turning(height), {}) for height in (0.2, 0.3, 0.5)}
