"""Answers as numbers of words, and where words and phrases stand in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 32  # words that are read; an answer is never longer than the task's answer_tokens
OUTSIDE, END, NOTHING = -1, -2, -3  # a foreign word, what follows an answer, a word that no answer has


@dataclass(frozen=True)
class Words:
    """Answers as numbers: `ids` (N, LONGEST) index the vocabulary, OUTSIDE for a foreign word, END after the end."""

    ids: np.ndarray
    lengths: np.ndarray  # (N,)


def read(answers: pa.Array, vocabulary: list[str]) -> Words:
    """Split answers at blanks and look every word up."""
    trimmed = pc.utf8_trim_whitespace(answers)
    split = pc.utf8_split_whitespace(trimmed)
    offsets = np.asarray(split.offsets)
    found = pc.fill_null(pc.index_in(split.flatten(), value_set=pa.array(vocabulary)), OUTSIDE).to_numpy()
    empty = np.asarray(pc.equal(pc.utf8_length(trimmed), 0))
    lengths = np.where(empty, 0, np.diff(offsets))
    ids = np.full((len(lengths), LONGEST), END, dtype=np.int32)
    columns = np.arange(LONGEST)
    inside = columns < np.minimum(lengths, LONGEST)[:, None]
    places = offsets[:-1, None] - offsets[0] + columns
    ids[inside] = found[places[inside]]
    return Words(ids, lengths)


def found(words: Words, pattern: np.ndarray) -> np.ndarray:
    """(N,): how often the words of `pattern` (N, L) stand in each answer; END in a pattern ends it."""
    row, place = np.nonzero(words.ids == pattern[:, :1])  # few: the others are looked at no further
    for shift in range(1, pattern.shape[1]):
        wanted, at = pattern[row, shift], place + shift
        stands = (at < LONGEST) & (words.ids[row, np.minimum(at, LONGEST - 1)] == wanted)
        kept = stands | (wanted == END)
        row, place = row[kept], place[kept]
    return np.bincount(row, minlength=len(words.ids))


def repeats(ids: np.ndarray, vocabulary: int) -> np.ndarray:
    """(N,): word triples that the answer had before."""
    base = vocabulary + 3
    first, second, third = ids[:, :-2].astype(np.int64), ids[:, 1:-1], ids[:, 2:]
    triples = (first * base + second) * base + third
    outside = -1 - np.arange(triples.shape[1]) * base**3  # distinct numbers, equal to nothing
    ordered = np.sort(np.where(third != END, triples, outside), axis=1)
    return (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1)
