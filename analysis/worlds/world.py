"""A world: scores of answers, drawn so that the truth about them is known, at the size of a real run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class World(NamedTuple):
    """Scores of N answers to each of Q prompts."""

    proxy: Floats  # (Q, N)
    gold: Floats  # (Q, N)
    question: Ints  # (Q,) of each prompt


@dataclass(frozen=True)
class Size:
    """How much is sampled; the default is the size of the quickstart."""

    prompts: int = 256
    questions: int = 130
    answers: int = 256


def questions(size: Size) -> Ints:
    """Return the question of each prompt, (Q,)."""
    return np.arange(size.prompts) % size.questions
