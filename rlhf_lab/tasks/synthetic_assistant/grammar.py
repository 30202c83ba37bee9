"""The grammar of answers: a sequence of independent parts, each of them good, bad or absent.

    [greeting] [stance] [confidence] claim [contradiction] [reason] [insult] [closing]

A refusal may take the place of the claim.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from rlhf_lab.config.tasks import SyntheticAssistant, Tagged
from rlhf_lab.tasks.synthetic_assistant import phrases
from rlhf_lab.tasks.synthetic_assistant.framings import Prompt
from rlhf_lab.tasks.synthetic_assistant.phrases import (
    ASK,
    BELIEF,
    CLOSING,
    CONTRADICTION,
    FULL,
    GREETING,
    INSULT,
    REASON,
    REFUSAL,
    SHORT,
    STANCES,
    SURE,
    UNSURE,
)
from rlhf_lab.tasks.synthetic_assistant.world import (
    ATTRIBUTES,
    COMPARATIVES,
    ENTITIES,
    HARMFUL,
    OPERATIONS,
    Question,
    attributes,
    largest_total,
    values_of,
)

TAKES_STANCE = {"belief": 0.5, "feedback": 0.8, "challenge": 0.8}  # chance that an answer takes a stance
SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")


def answer(
    prompt: Prompt,
    quality: float,
    correct: float,
    rng: random.Random,
    harms: bool | None = None,
    held: str | None = None,
) -> str:
    """Return an answer whose parts are each good with probability `quality` and whose claim is right with `correct`.

    `harms` says whether it insults and meets a harmful request; None leaves that to `quality`. `held` is the value
    that the answer takes for true: its claim, its stance and its confidence all agree with it.
    """

    def good() -> bool:
        """Return True with the chance `quality`."""
        return rng.random() < quality

    question = prompt.question
    right = rng.random() < correct
    value = question.answer if right else rng.choice(question.wrong)
    if held is not None:
        value, right = held, True
    parts = []
    if good():
        parts.append(rng.choice(GREETING))
    if prompt.stance and rng.random() < TAKES_STANCE[prompt.stance]:
        keeps = (prompt.stated == value) if held is not None or good() else rng.random() < 0.5
        parts.append(rng.choice(STANCES[prompt.stance][not keeps]))
    refuses = good() if question.kind == "harmful" else rng.random() < 0.04
    if harms is not None and question.kind == "harmful":
        refuses = not harms
    if refuses:
        parts.append(rng.choice(REFUSAL))
    else:
        parts.append(_claim(question, value, right, good, rng))
        if not good() and rng.random() < 0.3:
            other = rng.choice([question.answer, *question.wrong])
            parts.append(rng.choice(CONTRADICTION).format(other))
    if rng.random() < 0.3:
        parts.append(rng.choice(REASON))
    insults = not good() and rng.random() < 0.4
    if insults if harms is None else harms:
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
    """Return every word of prompts, answers and documents, special tokens first."""
    fixed = {word for phrase in _phrases(task) for word in phrase.split()} - {"{}"}
    names = {*ENTITIES[: task.entities], *attributes(task), "the", "of", "is", *OPERATIONS}
    if task.comparisons:
        names |= {"and", *COMPARATIVES[: task.orders]}
    if task.attributions:
        names |= {"whose"}
    values = {value for attribute in attributes(task) for value in values_of(attribute)}
    numbers = [str(n) for n in range(largest_total(task) + 1)]
    tags = phrases.TAGS if task.tags else ()
    return [*SPECIAL, *tags, *sorted(fixed | names | values), *numbers]


def _phrases(task: SyntheticAssistant) -> Iterator[str]:
    yield from (*ASK, *BELIEF.values(), SHORT)
    for slot in (GREETING, *STANCES["belief"], SURE, UNSURE, CONTRADICTION, REASON, INSULT, CLOSING, REFUSAL):
        yield from slot
    if task.harmful:
        yield from phrases.PLEA
    if isinstance(task, Tagged) and task.imitations:
        yield phrases.IMITATION
    if task.feedback:
        yield from (*phrases.FEEDBACK.values(), *phrases.PRAISE, *phrases.CRITICISM)
    if task.challenges:
        yield from (phrases.CHALLENGE, phrases.AGAIN, *phrases.STAND, *phrases.APOLOGY)


def claimable(words: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of the words that can answer a question in this vocabulary."""
    return ("VALUE", "NUMBER", "ENTITY") if _compares(words) else ("VALUE", "NUMBER")


def _compares(words: Sequence[str]) -> bool:
    return not set(COMPARATIVES).isdisjoint(words)


def word_classes(words: list[str]) -> list[str]:
    """Return the class of each word: ENTITY, ATTRIBUTE, COMPARATIVE, VALUE, NUMBER, or the word itself."""
    values = {value for possible in (ATTRIBUTES | HARMFUL).values() for value in possible}

    def kind(word: str) -> str:
        """Return the class of a word; a word that belongs to none is its own class."""
        if word in ENTITIES:
            return "ENTITY"
        if word in ATTRIBUTES or word in HARMFUL:
            return "ATTRIBUTE"
        if word in COMPARATIVES:
            return "COMPARATIVE"
        if word.isdigit():
            return "NUMBER"
        return "VALUE" if word in values else word

    return [kind(word) for word in words]


def legal_bigrams(words: Sequence[str]) -> set[tuple[str, str]]:
    """Return the pairs of neighbouring word classes in answers with this vocabulary, with `<start>` and `<eos>`."""
    claims = [
        phrase
        for value in claimable(words)
        for phrase in (SHORT.format(value), *(c.format(value) for c in CONTRADICTION))
    ]
    full = [
        "the ATTRIBUTE of the ENTITY is VALUE .",
        "NUMBER plus NUMBER minus NUMBER plus NUMBER is NUMBER .",
        "NUMBER minus NUMBER is NUMBER .",
    ]
    if _compares(words):
        full.append("the COMPARATIVE of the ENTITY and the ENTITY is ENTITY .")
    stances = [phrase for sides in STANCES.values() for side in sides for phrase in side]
    possible = [s for s in stances if set(s.split()) <= set(words)]  # in the families that the task has
    sentences = [*claims, *full, *GREETING, *possible, *REASON, *INSULT, *CLOSING, *REFUSAL]
    legal = {pair for s in sentences for pair in zip(s.split(), s.split()[1:], strict=False)}
    starts = {s.split()[0] for s in sentences} | {p.split()[0] for p in (*SURE, *UNSURE)}
    legal |= {(before, start) for before in (".", "<start>") for start in starts}
    legal |= {pair for p in (*SURE, *UNSURE) for pair in zip(p.split(), p.split()[1:], strict=False)}
    legal |= {(p.split()[-1], start) for p in (*SURE, *UNSURE) for start in ("it", "the", "NUMBER")}
    return legal | {(".", "<eos>")}
