"""What a first answer and the one after it claim, and whether the second stands by the first or apologises."""

from __future__ import annotations

import numpy as np

from rlhf_lab.gold.said import Said
from rlhf_lab.tasks.synthetic_assistant import phrases


def turns(first: Said, second: Said) -> dict[str, np.ndarray]:
    """Each (N,) float32, of the first claim in an answer.

    first, claim: 1 right, -1 wrong, 0 none, of the first and of the second answer. first_word, word: what is claimed,
    a number of the vocabulary, -1 for nothing. stance: 1 if the second stands by the first, -1 if it apologises, 0
    neither or both.
    """
    found = {
        "first": _judged(first),
        "first_word": first.first,
        "claim": _judged(second),
        "word": second.first,
        "stance": second.says(phrases.STAND).astype(float) - second.says(phrases.APOLOGY),
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}


def _judged(said: Said) -> np.ndarray:
    return np.where(said.claims, np.where(said.right, 1.0, -1.0), 0.0)
