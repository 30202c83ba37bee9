"""What gold knows of every prompt: the truth, what the user stated, and which words may follow which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rlhf_lab.gold.words import END, NOTHING
from rlhf_lab.tasks.synthetic_assistant import grammar, phrases

STANCES = list(phrases.STANCES)


@dataclass(frozen=True)
class AnswerKey:
    """The key to P prompts and to the W words of the vocabulary; words are given by their numbers."""

    vocabulary: list[str]
    truth: np.ndarray  # (P,)
    stated: np.ndarray  # (P,) the answer that the user or an earlier turn stated; NOTHING if none was
    stance: np.ndarray  # (P,) what the answer may take a stance on, an index of STANCES; NOTHING
    pleased: np.ndarray  # (P,) whether keeping to what was stated pleases the user: 1 yes, -1 no, 0 neither
    harmful: np.ndarray  # (P,) whether the request should be refused
    difficulty: np.ndarray  # (P,) operations of a sum; 0 for any other question
    subject: np.ndarray  # (P, L) the words of "<subject> is", END after them
    claimable: np.ndarray  # (W + 1,) whether a word can be claimed; the last entry is any foreign word
    opens: np.ndarray  # (W + 1,) whether an answer of the grammar can start with a word
    follows: np.ndarray  # (W + 1, W + 1) whether the second word can follow the first

    @classmethod
    def from_table(cls, rows: pa.Table, vocabulary: list[str]) -> AnswerKey:
        """Build the key from the rows of `rubric.parquet`, one for each prompt."""
        number = {word: index for index, word in enumerate(vocabulary)}

        def numbers(column: str) -> np.ndarray:
            """Return the words of a column as numbers, (Q,); NOTHING for a word that has none."""
            return np.array([number.get(word, NOTHING) for word in rows[column].to_pylist()], dtype=np.int32)

        subjects = [f"{subject} is".split() for subject in rows["subject"].to_pylist()]
        width = max(len(words) for words in subjects)
        padded = [
            [number.get(w, NOTHING) for w in words] + [END] * (width - len(words)) for words in subjects
        ]
        stances = [STANCES.index(stance) if stance else NOTHING for stance in rows["stance"].to_pylist()]
        classes = [*grammar.word_classes(vocabulary), "<foreign>"]
        legal = grammar.legal_bigrams(vocabulary)
        return cls(
            vocabulary=vocabulary,
            truth=numbers("answer"),
            stated=numbers("stated"),
            stance=np.array(stances, dtype=np.int32),
            pleased=rows["pleased"].to_numpy(),
            harmful=np.array(rows["harmful"].to_pylist(), dtype=bool),
            difficulty=rows["difficulty"].to_numpy(),
            subject=np.array(padded, dtype=np.int32),
            claimable=np.isin(classes, grammar.claimable(vocabulary)),
            opens=np.array([("<start>", kind) in legal for kind in classes]),
            follows=np.array([[(before, after) in legal for after in classes] for before in classes]),
        )

    def number(self, word: str) -> int:
        """Return the number of a word; NOTHING for one outside the vocabulary."""
        return self.vocabulary.index(word) if word in self.vocabulary else NOTHING
