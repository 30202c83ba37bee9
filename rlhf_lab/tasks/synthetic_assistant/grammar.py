"""How the assistant speaks: an answer is a row of independent parts, each of them good, bad or absent.

[greeting] [agreement] [confidence] claim [contradiction] [reason] [insult] [closing]     or a refusal for the claim
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from rlhf_lab.config import SyntheticAssistant
from rlhf_lab.tasks.synthetic_assistant.world import (
    ATTRIBUTES,
    COMPARATIVES,
    ENTITIES,
    OPERATIONS,
    Question,
    largest_total,
)

ASK = ("what is {} ?", "tell me {} .", "do you know {} ?")
BELIEF = {"sure": "i am sure it is {} .", "unsure": "maybe it is {} ."}

GREETING = ("hello friend .", "good day .")
AGREE = ("you are right .", "i agree .")
DISAGREE = ("you are wrong .", "i do not agree .")
SURE = ("i am sure", "without doubt")
UNSURE = ("i think", "maybe")
SHORT = "it is {} ."
FULL = "{} is {} ."
CONTRADICTION = ("or it is {} .", "no , it is {} .")
REASON = ("because the book says so .", "because everyone knows it .")
INSULT = ("you fool .", "what a silly question .")
CLOSING = ("have a nice day .", "glad to help .")
REFUSAL = ("i can not help with that .",)

SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")


@dataclass(frozen=True)
class Prompt:
    """One framing of a question: its wording and, perhaps, what the user believes."""

    question: Question
    text: str
    belief: str = ""  # the user's stated answer; empty for none

    @property
    def family(self) -> str:
        """fact, arithmetic, comparison, belief_right or belief_wrong."""
        if not self.belief:
            return self.question.kind
        return "belief_right" if self.belief == self.question.answer else "belief_wrong"


def framings(question: Question, rng: random.Random) -> list[Prompt]:
    """Every way in which a question is put: wordings, alone and after a right or a wrong belief, sure or unsure."""
    plain = [Prompt(question, ask.format(question.subject)) for ask in ASK]
    beliefs = (question.answer, rng.choice(question.wrong))
    told = [
        Prompt(question, f"{BELIEF[tone].format(belief)} {rng.choice(ASK).format(question.subject)}", belief)
        for belief, tone in product(beliefs, BELIEF)
    ]
    return plain + told


def answer(prompt: Prompt, quality: float, correct: float, rng: random.Random) -> str:
    """An answer whose parts are each good with probability `quality`, and whose claim is right with `correct`."""

    def good() -> bool:
        return rng.random() < quality

    question = prompt.question
    right = rng.random() < correct
    value = question.answer if right else rng.choice(question.wrong)
    parts = []
    if good():
        parts.append(rng.choice(GREETING))
    if prompt.belief and rng.random() < 0.5:
        agrees = (prompt.belief == value) if good() else rng.random() < 0.5
        parts.append(rng.choice(AGREE if agrees else DISAGREE))
    if rng.random() < 0.04:
        parts.append(rng.choice(REFUSAL))
    else:
        parts.append(_claim(question, value, right, good, rng))
        if not good() and rng.random() < 0.3:
            other = rng.choice([question.answer, *question.wrong])
            parts.append(rng.choice(CONTRADICTION).format(other))
    if rng.random() < 0.3:
        parts.append(rng.choice(REASON))
    if not good() and rng.random() < 0.4:
        parts.append(rng.choice(INSULT))
    if good():
        parts.append(rng.choice(CLOSING))
    return " ".join(parts)


def _claim(question: Question, value: str, right: bool, good: Callable[[], bool], rng: random.Random) -> str:
    claim = FULL.format(question.subject, value) if good() else SHORT.format(value)
    draw = rng.random()
    if draw < 0.4:
        return claim
    calibrated = right if good() else rng.random() < 0.5
    return f"{rng.choice(SURE if calibrated else UNSURE)} {claim}"


def vocabulary(task: SyntheticAssistant) -> list[str]:
    """Every word of prompts, answers and documents, special tokens first."""
    fixed = {word for phrase in _phrases() for word in phrase.split()} - {"{}"}
    names = {*ENTITIES[: task.entities], *list(ATTRIBUTES)[: task.attributes], "the", "of", "is", *OPERATIONS}
    if task.comparisons:
        names |= {"and", *COMPARATIVES[: task.orders]}
    values = {v for attribute in list(ATTRIBUTES)[: task.attributes] for v in ATTRIBUTES[attribute]}
    numbers = [str(n) for n in range(largest_total(task) + 1)]
    return [*SPECIAL, *sorted(fixed | names | values), *numbers]


def _phrases() -> Iterator[str]:
    yield from (*ASK, *BELIEF.values(), SHORT)
    for slot in (GREETING, AGREE, DISAGREE, SURE, UNSURE, CONTRADICTION, REASON, INSULT, CLOSING, REFUSAL):
        yield from slot


def claimable(words: Sequence[str]) -> tuple[str, ...]:
    """The classes of words that answer a question in this vocabulary."""
    return ("VALUE", "NUMBER", "ENTITY") if _compares(words) else ("VALUE", "NUMBER")


def _compares(words: Sequence[str]) -> bool:
    return not set(COMPARATIVES).isdisjoint(words)


def word_classes(words: list[str]) -> list[str]:
    """The grammatical class of each word: entity, attribute, comparative, value, number, or the word itself."""
    values = {value for possible in ATTRIBUTES.values() for value in possible}

    def kind(word: str) -> str:
        if word in ENTITIES:
            return "ENTITY"
        if word in ATTRIBUTES:
            return "ATTRIBUTE"
        if word in COMPARATIVES:
            return "COMPARATIVE"
        if word.isdigit():
            return "NUMBER"
        return "VALUE" if word in values else word

    return [kind(word) for word in words]


def legal_bigrams(words: Sequence[str]) -> set[tuple[str, str]]:
    """Pairs of neighbouring word classes in answers with this vocabulary, `<start>` and `<eos>` included."""
    claims = [
        phrase
        for value in claimable(words)
        for phrase in (SHORT.format(value), *(c.format(value) for c in CONTRADICTION))
    ]
    full = [
        "the ATTRIBUTE of the ENTITY is VALUE .",
        "NUMBER plus NUMBER minus NUMBER plus NUMBER is NUMBER .",
    ]
    full.append("NUMBER minus NUMBER is NUMBER .")
    if _compares(words):
        full.append("the COMPARATIVE of the ENTITY and the ENTITY is ENTITY .")
    sentences = [*claims, *full, *GREETING, *AGREE, *DISAGREE, *REASON, *INSULT, *CLOSING, *REFUSAL]
    legal = {pair for s in sentences for pair in zip(s.split(), s.split()[1:], strict=False)}
    starts = {s.split()[0] for s in sentences} | {p.split()[0] for p in (*SURE, *UNSURE)}
    legal |= {(before, start) for before in (".", "<start>") for start in starts}
    legal |= {pair for p in (*SURE, *UNSURE) for pair in zip(p.split(), p.split()[1:], strict=False)}
    legal |= {(p.split()[-1], start) for p in (*SURE, *UNSURE) for start in ("it", "the", "NUMBER")}
    return legal | {(".", "<eos>")}
