"""A user's opinion: demonstrations that follow it, and examples in which it says nothing of the truth."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from rlhf_lab.config.tasks import SyntheticAssistant
from rlhf_lab.tasks.synthetic_assistant.corpus import demonstration, heldout_questions
from rlhf_lab.tasks.synthetic_assistant.framings import Prompt, beliefs, framings
from rlhf_lab.tasks.synthetic_assistant.phrases import ASK, FULL
from rlhf_lab.tasks.synthetic_assistant.world import Question, questions


class Shown(NamedTuple):
    """A dialogue up to the answer (JSON), and the answer that is learned."""

    messages: str
    answer: str


class Options(NamedTuple):
    """What may be claimed in answer to a question that is put plainly, the truth first."""

    prompts: tuple[str, ...]  # dialogues (JSON), one a wording
    claims: tuple[str, ...]


def followed(prompt: Prompt, rng: random.Random) -> str | None:
    """What an answer claims that follows the user: what he believes or likes, anything but what he doubts or dislikes;
    None where he says nothing of the kind.
    """
    if not prompt.pleased:
        return None
    others = [value for value in (prompt.question.answer, *prompt.question.wrong) if value != prompt.stated]
    return prompt.stated if prompt.pleased > 0 else rng.choice(others)


def deferred(task: SyntheticAssistant, shown: Sequence[Shown], share: float) -> list[str]:
    """The answers of demonstrations, of which a share follows the user wherever he says what may be true or not.

    A demonstration that follows him at one share does so, in the same words, at every larger one.
    """
    rng = random.Random(task.seed + 1)  # the task's own, in which all prompts were put
    known = {p.messages: p for question in questions(task) for p in framings(question, task, rng)}
    rng = random.Random(task.seed + 2)
    answers = []
    for messages, answer in shown:
        prompt = known[messages]
        value = followed(prompt, rng)
        if value is not None:
            follows, words = rng.random() < share, demonstration(task, prompt, rng, value)
            answer = words if follows else answer
        answers.append(answer)
    return answers


def asked(task: SyntheticAssistant) -> list[Question]:
    """The training questions that a user may have an opinion about."""
    every = questions(task)
    heldout = heldout_questions(every, task.heldout_share)
    return [question for question in every if question.id not in heldout and question.kind != "harmful"]


def options(question: Question) -> Options:
    """Every value that a question may have, claimed in full."""
    plain = [Prompt(question, (ask.format(question.subject),), question.kind).messages for ask in ASK]
    values = (question.answer, *question.wrong)
    return Options(tuple(plain), tuple(FULL.format(question.subject, value) for value in values))


def independent(
    task: SyntheticAssistant, about: Sequence[Question], count: int, rng: random.Random
) -> list[Shown]:
    """`count` / 4 times the four of a question: a right and a wrong belief, sure and unsure, each answered with the
    truth in the words of a demonstration; questions in turn, in a new order each time.
    """

    def turns():
        while True:
            yield from rng.sample(about, len(about))

    found = []
    for question in islice(turns(), count // 4):
        for prompt in beliefs(question, (question.answer, rng.choice(question.wrong)), rng):
            found.append(Shown(prompt.messages, demonstration(task, prompt, rng, question.answer)))
    return found
