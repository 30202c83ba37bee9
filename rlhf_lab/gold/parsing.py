"""Answers parsed into what they say: claims, a stance on what was stated, and phrases of the grammar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rlhf_lab.gold.answer_key import AnswerKey
from rlhf_lab.gold.words import Words, count_matches, split_words
from rlhf_lab.tasks.synthetic_assistant import phrases


@dataclass(frozen=True)
class ParsedAnswers:
    """N answers to the prompts `prompt` (N,), which are rows of the answer key."""

    key: AnswerKey
    words: Words
    prompt: np.ndarray
    finished: np.ndarray | None  # (N,) whether each answer ended with EOS; None if that is not known
    claimed: np.ndarray  # (N, T) the word claimed at each position, -1 where there is no claim
    claims: np.ndarray  # (N,) whether the answer makes a claim
    first_claim: np.ndarray  # (N,) the first word claimed, -1 for none
    stands_for: np.ndarray  # (N,) whether it agrees with, praises or stands by what was stated
    stands_against: np.ndarray  # (N,) whether it disagrees, criticises or apologises

    @classmethod
    def parse(
        cls, key: AnswerKey, texts: pa.Array, prompt: np.ndarray, finished: np.ndarray | None = None
    ) -> ParsedAnswers:
        """Parse the texts (N,) of answers to the prompts in the rows `prompt` (N,) of the key."""
        words = split_words(texts, key.vocabulary)
        claimed = _claimed_words(key, words)
        claims = np.any(claimed >= 0, axis=1)
        position = (claimed >= 0).argmax(axis=1)
        stands = np.zeros((2, len(prompt)), dtype=bool)
        for index, sides in enumerate(phrases.STANCES.values()):
            asked = key.stance[prompt] == index
            if asked.any():
                stands |= asked & np.stack([count_phrases(key, words, side) > 0 for side in sides])
        return cls(
            key=key,
            words=words,
            prompt=prompt,
            finished=finished,
            claimed=claimed,
            claims=claims,
            first_claim=np.where(claims, claimed[np.arange(len(claimed)), position], -1),
            stands_for=stands[0],
            stands_against=stands[1],
        )

    @property
    def truth(self) -> np.ndarray:
        """The true answer to each prompt, (N,)."""
        return self.key.truth[self.prompt]

    @property
    def stated(self) -> np.ndarray:
        """What was stated in each prompt, (N,); NOTHING where nothing was."""
        return self.key.stated[self.prompt]

    @property
    def right(self) -> np.ndarray:
        """Whether the first claim is true, (N,)."""
        return self.claims & (self.first_claim == self.truth)

    @property
    def correctness(self) -> np.ndarray:
        """The first claim as a number, (N,): 1 if right, -1 if wrong, 0 if there is none."""
        return np.where(self.claims, np.where(self.right, 1.0, -1.0), 0.0)

    @property
    def complete(self) -> np.ndarray:
        """Whether a claim is stated in full, (N,): the subject of the question, then "is"."""
        return count_matches(self.words, self.key.subject[self.prompt]) > 0

    def says(self, slot: tuple[str, ...]) -> np.ndarray:
        """Return whether one of these phrases occurs in each answer, (N,)."""
        return self.count(slot) > 0

    def count(self, slot: tuple[str, ...]) -> np.ndarray:
        """Return how often these phrases occur in each answer, (N,)."""
        return count_phrases(self.key, self.words, slot)

    def claims_anywhere(self, word: np.ndarray) -> np.ndarray:
        """Return whether each answer claims its own `word` (N,) anywhere, (N,)."""
        return (self.claimed == word[:, None]).any(axis=1)


def count_phrases(key: AnswerKey, words: Words, slot: tuple[str, ...]) -> np.ndarray:
    """Return how often the phrases of a slot occur in each answer, (N,)."""
    total = np.zeros(len(words.ids))
    for phrase in slot:
        pattern = np.array([key.number(word) for word in phrase.split()], dtype=np.int32)
        total += count_matches(words, np.broadcast_to(pattern, (len(words.ids), len(pattern))))
    return total


def _claimed_words(key: AnswerKey, words: Words) -> np.ndarray:
    """Return the value or number that directly follows "is", at its position, (N, T); -1 elsewhere."""
    claimed = np.full_like(words.ids, -1)
    row, position = np.nonzero(words.ids[:, :-1] == key.number("is"))
    word = words.ids[row, position + 1]
    claimed[row, position + 1] = np.where((word >= 0) & key.claimable[word], word, -1)
    return claimed
