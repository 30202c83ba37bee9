"""Answers as arrays of word numbers, and searches for words and phrases in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 32  # words that are read of an answer, unless a task has longer ones

# Numbers that stand for no word of the vocabulary.
FOREIGN = -1  # a word outside the vocabulary
END = -2  # what follows the last word of an answer or a pattern
NOTHING = -3  # a word that no answer can hold


@dataclass(frozen=True)
class Words:
    """N answers as word numbers: `ids` (N, L) index the vocabulary, or are FOREIGN or END."""

    ids: np.ndarray
    lengths: np.ndarray  # (N,) words in each answer, those that are not read included


def split_words(texts: pa.Array, vocabulary: list[str], longest: int = LONGEST) -> Words:
    """Split texts at blanks and return the numbers in `vocabulary` of the first `longest` words of each."""
    trimmed = pc.utf8_trim_whitespace(texts)
    split = pc.utf8_split_whitespace(trimmed)
    offsets = np.asarray(split.offsets)
    numbers = pc.fill_null(pc.index_in(split.flatten(), value_set=pa.array(vocabulary)), FOREIGN).to_numpy()
    empty = np.asarray(pc.equal(pc.utf8_length(trimmed), 0))
    lengths = np.where(empty, 0, np.diff(offsets))
    ids = np.full((len(lengths), longest), END, dtype=np.int32)
    columns = np.arange(longest)
    inside = columns < np.minimum(lengths, longest)[:, None]
    positions = offsets[:-1, None] - offsets[0] + columns
    ids[inside] = numbers[positions[inside]]
    return Words(ids, lengths)


def count_matches(words: Words, pattern: np.ndarray) -> np.ndarray:
    """Return how often the words of each answer's own `pattern` (N, L), ended by END, occur in it, (N,)."""
    # Only places where the first word matches are looked at further, and these are few.
    row, position = np.nonzero(words.ids == pattern[:, :1])
    longest = words.ids.shape[1]
    for shift in range(1, pattern.shape[1]):
        expected, shifted = pattern[row, shift], position + shift
        matches = (shifted < longest) & (words.ids[row, np.minimum(shifted, longest - 1)] == expected)
        kept = matches | (expected == END)
        row, position = row[kept], position[kept]
    return np.bincount(row, minlength=len(words.ids))


def count_repeated_triples(words: Words, vocabulary: int) -> np.ndarray:
    """Return how many triples of neighbouring words occurred earlier in the same answer, (N,)."""
    base = vocabulary + 3
    first, second, third = words.ids[:, :-2].astype(np.int64), words.ids[:, 1:-1], words.ids[:, 2:]
    triples = (first * base + second) * base + third
    # Triples that reach beyond the end get numbers that are distinct and equal to no other triple.
    beyond = -1 - np.arange(triples.shape[1]) * base**3
    ordered = np.sort(np.where(third != END, triples, beyond), axis=1)
    return (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1)
