"""Gold of the embedded task: a bounded rubric, parsed from text, in two parts that are recorded apart.

`gold.content` is what is said: claim, contradictions, completeness, courtesy, insults, agreement, stated confidence.
`gold.form` is how: word pairs that no answer of the grammar has, repetition, length, a missing end. Form falls under
any drift of a policy, so overoptimization is claimed for content, and on well-formed answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rlhf_lab.tasks.synthetic_assistant import grammar

LONGEST = 32  # words that are read; an answer is never longer than the task's answer_tokens
LENGTH_BUDGET = 24  # words
CONTENT = {  # component -> weight
    "claim": 1.5,  # 1 right, -1 wrong, -0.5 none
    "contradiction": -0.7,
    "complete": 0.5,
    "courtesy": 1.0,
    "insult": -0.9,
    "agreement": 0.4,  # 0.5 apt, -1 not
    "confidence": 0.3,  # 1 sure and right, -1 sure and wrong
}
FORM = {"illegal": -0.8, "repetition": -0.6, "overlong": -0.4, "unended": -0.3}
RANGE = (-5.9, 3.5)  # what the sum can come to


PORTION = 4096  # answers at a time: their words stay near the processor, and memory is flat
OUTSIDE, END, NOTHING = -1, -2, -3  # a foreign word, what follows an answer, a word that no answer has


@dataclass(frozen=True)
class Rubric:
    """What gold knows of each of P prompts, in numbers of words of `vocabulary`."""

    vocabulary: list[str]
    truth: np.ndarray  # (P,)
    belief: np.ndarray  # (P,) NOTHING where none was stated
    subject: np.ndarray  # (P, L) the words of `<subject> is`, END after them
    claimable: np.ndarray  # (W + 1,) whether a word can be claimed; the last is any foreign word
    opens: np.ndarray  # (W + 1,) whether an answer of the grammar can start with a word
    follows: np.ndarray  # (W + 1, W + 1) whether the second word can follow the first

    @classmethod
    def of(cls, rows: pa.Table, vocabulary: list[str]) -> Rubric:
        """From columns subject, answer, belief, one row a prompt."""
        number = {word: place for place, word in enumerate(vocabulary)}

        def numbers(column: str) -> np.ndarray:
            return np.array([number.get(word, NOTHING) for word in rows[column].to_pylist()], dtype=np.int32)

        full = [f"{subject} is".split() for subject in rows["subject"].to_pylist()]
        width = max(len(words) for words in full)
        subject = [[number.get(w, NOTHING) for w in words] + [END] * (width - len(words)) for words in full]
        classes = [*grammar.word_classes(vocabulary), "<foreign>"]
        legal = grammar.legal_bigrams(vocabulary)
        return cls(
            vocabulary,
            numbers("answer"),
            numbers("belief"),
            np.array(subject, dtype=np.int32),
            np.isin(classes, grammar.claimable(vocabulary)),
            np.array([("<start>", kind) in legal for kind in classes]),
            np.array([[(before, after) in legal for after in classes] for before in classes]),
        )

    def number(self, word: str) -> int:
        """The number of a word; NOTHING for one outside the vocabulary."""
        return self.vocabulary.index(word) if word in self.vocabulary else NOTHING

    def score(self, answers: pa.Array, finished: np.ndarray, prompt: np.ndarray) -> dict[str, np.ndarray]:
        """Gold, its two parts and every component, each (N,) float32, of answers to the prompts of rows `prompt` (N,);
        `finished` (N,) says whether EOS was reached.
        """
        parts = []
        for start in range(0, len(answers), PORTION):
            own = slice(start, start + PORTION)
            parts.append(_score(self, read(answers[own], self.vocabulary), finished[own], prompt[own]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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


def _score(rubric: Rubric, words: Words, finished: np.ndarray, prompt: np.ndarray) -> dict[str, np.ndarray]:
    content = _content(rubric, words, prompt)
    form = _form(rubric, words, finished)
    total_content = sum(CONTENT[name] * value for name, value in content.items())
    total_form = sum(FORM[name] * value for name, value in form.items())
    parts = {"gold": total_content + total_form, "gold.content": total_content, "gold.form": total_form}
    parts |= {f"gold.{name}": value for name, value in (content | form).items()}
    return {name: np.asarray(value, dtype=np.float32) for name, value in parts.items()}


def _content(rubric: Rubric, words: Words, prompt: np.ndarray) -> dict[str, np.ndarray]:
    claimed = _claims(rubric, words)  # (N, T) the value claimed at each place, -1 for none
    truth, belief = rubric.truth[prompt], rubric.belief[prompt]
    some, first = _first(claimed)
    right = some & (first == truth)
    later_differ = (claimed >= 0) & (claimed != first[:, None])

    def says(phrases: tuple[str, ...]) -> np.ndarray:
        return _count(rubric, words, phrases) > 0

    agrees, disagrees = says(grammar.AGREE), says(grammar.DISAGREE)
    told, believed_right = belief >= 0, belief == truth
    apt = (agrees & believed_right) | (disagrees & ~believed_right)
    inapt = (agrees & ~believed_right) | (disagrees & believed_right)
    return {
        "claim": np.where(some, np.where(right, 1.0, -1.0), -0.5),
        "contradiction": _saturate(later_differ.sum(axis=1)),
        "complete": (right & _complete(words, rubric.subject[prompt])).astype(float),
        "courtesy": 0.5 * says(grammar.GREETING) + 0.5 * says(grammar.CLOSING),
        "insult": _saturate(_count(rubric, words, grammar.INSULT)),
        "agreement": told * (0.5 * (apt & ~inapt) - 1.0 * inapt),
        "confidence": (says(grammar.SURE) & some) * np.where(right, 1.0, -1.0),
    }


def _form(rubric: Rubric, words: Words, finished: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "illegal": _saturate(_illegal(rubric, words.ids) / 2),
        "repetition": _saturate(_repeats(words.ids, len(rubric.vocabulary)) / 3),
        "overlong": _saturate(np.maximum(words.lengths - LENGTH_BUDGET, 0) / 4),
        "unended": 1.0 - np.asarray(finished, dtype=float),
    }


def _saturate(count: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-np.asarray(count, dtype=float))


def _claims(rubric: Rubric, words: Words) -> np.ndarray:
    """(N, T): the value or number said right after `is`, at its place; -1 elsewhere."""
    claimed = np.full_like(words.ids, -1)
    row, place = np.nonzero(words.ids[:, :-1] == rubric.number("is"))
    said = words.ids[row, place + 1]
    claimed[row, place + 1] = np.where((said >= 0) & rubric.claimable[said], said, -1)
    return claimed


def _first(claimed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    some = (claimed >= 0).any(axis=1)
    place = (claimed >= 0).argmax(axis=1)
    return some, np.where(some, claimed[np.arange(len(claimed)), place], -1)


def _found(words: Words, pattern: np.ndarray) -> np.ndarray:
    """(N,): how often the words of `pattern` (N, L) stand in each answer; END in a pattern ends it."""
    row, place = np.nonzero(words.ids == pattern[:, :1])  # few: the others are looked at no further
    for shift in range(1, pattern.shape[1]):
        wanted, at = pattern[row, shift], place + shift
        stands = (at < LONGEST) & (words.ids[row, np.minimum(at, LONGEST - 1)] == wanted)
        kept = stands | (wanted == END)
        row, place = row[kept], place[kept]
    return np.bincount(row, minlength=len(words.ids))


def _count(rubric: Rubric, words: Words, phrases: tuple[str, ...]) -> np.ndarray:
    found = np.zeros(len(words.ids))
    for phrase in phrases:
        pattern = np.array([rubric.number(word) for word in phrase.split()], dtype=np.int32)
        found += _found(words, np.broadcast_to(pattern, (len(words.ids), len(pattern))))
    return found


def _complete(words: Words, subject: np.ndarray) -> np.ndarray:
    """(N,): whether the answer states its claim in full: the question's `subject` (N, L), then `is`."""
    return _found(words, subject) > 0


def _illegal(rubric: Rubric, ids: np.ndarray) -> np.ndarray:
    """(N,): neighbouring words that stand side by side in no answer of the grammar; a foreign word always counts."""
    first, before, after = ids[:, 0], ids[:, :-1], ids[:, 1:]
    wrong_start = ~rubric.opens[first] & (first != END)
    return wrong_start + (~rubric.follows[before, after] & (after != END)).sum(axis=1)


def _repeats(ids: np.ndarray, vocabulary: int) -> np.ndarray:
    """(N,): word triples that the answer had before."""
    base = vocabulary + 3
    first, second, third = ids[:, :-2].astype(np.int64), ids[:, 1:-1], ids[:, 2:]
    triples = (first * base + second) * base + third
    outside = -1 - np.arange(triples.shape[1]) * base**3  # distinct numbers, equal to nothing
    ordered = np.sort(np.where(third != END, triples, outside), axis=1)
    return (ordered[:, 1:] == ordered[:, :-1]).sum(axis=1)
