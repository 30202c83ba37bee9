"""What answers say, read from their words: claims, a stance on what was stated, confidence, refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlhf_lab.gold.words import END, Words, found
from rlhf_lab.tasks.synthetic_assistant import phrases

if TYPE_CHECKING:
    from rlhf_lab.gold.rubric import Rubric


@dataclass(frozen=True)
class Said:
    """Of N answers to the prompts of rows `prompt` (N,) of a rubric."""

    rubric: Rubric
    words: Words
    prompt: np.ndarray
    claimed: np.ndarray  # (N, T) the word claimed at each place, -1 for none
    claims: np.ndarray  # (N,) whether there is one
    first: np.ndarray  # (N,) the first one, -1 for none
    stands_for: (
        np.ndarray
    )  # (N,) whether it agrees, praises, stands by what was stated: what the prompt is about
    stands_against: np.ndarray  # (N,) whether it disagrees, criticises, apologises

    @classmethod
    def of(cls, rubric: Rubric, words: Words, prompt: np.ndarray) -> Said:
        """Read the answers."""
        claimed = _claims(rubric, words)
        claims = np.any(claimed >= 0, axis=1)
        place = (claimed >= 0).argmax(axis=1)
        first = np.where(claims, claimed[np.arange(len(claimed)), place], -1)
        asked = rubric.stance[prompt]
        stands = np.zeros((2, len(prompt)), dtype=bool)
        for number, sides in enumerate(phrases.STANCES.values()):
            about = asked == number
            if about.any():
                stands |= about & np.stack([count(rubric, words, side) > 0 for side in sides])
        return cls(rubric, words, prompt, claimed, claims, first, *stands)

    def says(self, slot: tuple[str, ...]) -> np.ndarray:
        """(N,): whether one of these phrases stands in the answer."""
        return count(self.rubric, self.words, slot) > 0

    @property
    def right(self) -> np.ndarray:
        """(N,): whether the first claim is true."""
        return self.claims & (self.first == self.rubric.truth[self.prompt])

    @property
    def complete(self) -> np.ndarray:
        """(N,): whether a claim is stated in full: the question's subject, then `is`."""
        return found(self.words, self.rubric.subject[self.prompt]) > 0


def count(rubric: Rubric, words: Words, slot: tuple[str, ...]) -> np.ndarray:
    """(N,): how often phrases of a slot stand in each answer."""
    total = np.zeros(len(words.ids))
    for phrase in slot:
        pattern = np.array([rubric.number(word) for word in phrase.split()], dtype=np.int32)
        total += found(words, np.broadcast_to(pattern, (len(words.ids), len(pattern))))
    return total


def _claims(rubric: Rubric, words: Words) -> np.ndarray:
    """(N, T): the value or number said right after `is`, at its place; -1 elsewhere."""
    claimed = np.full_like(words.ids, -1)
    row, place = np.nonzero(words.ids[:, :-1] == rubric.number("is"))
    said = words.ids[row, place + 1]
    claimed[row, place + 1] = np.where((said >= 0) & rubric.claimable[said], said, -1)
    return claimed


def illegal(rubric: Rubric, words: Words) -> np.ndarray:
    """(N,): neighbouring words that stand side by side in no answer of the grammar; a foreign word always counts."""
    ids = words.ids
    first, before, after = ids[:, 0], ids[:, :-1], ids[:, 1:]
    wrong_start = ~rubric.opens[first] & (first != END)
    return wrong_start + (~rubric.follows[before, after] & (after != END)).sum(axis=1)
