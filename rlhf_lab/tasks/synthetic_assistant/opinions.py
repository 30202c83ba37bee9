"""A user's opinion: demonstrations that follow it, and examples in which it says nothing about the truth."""

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


class Demonstration(NamedTuple):
    """A dialogue up to the answer (JSON), and the answer to learn."""

    messages: str
    answer: str


class Options(NamedTuple):
    """A question put plainly, and the claims that may answer it, the truth first."""

    prompts: tuple[str, ...]  # dialogues (JSON), one for each wording
    claims: tuple[str, ...]


def pleasing_value(prompt: Prompt, rng: random.Random) -> str | None:
    """Return what an answer that follows the user claims, or None if the user shows no opinion.

    That is what the user believes or likes, and anything but what the user doubts or dislikes.
    """
    if not prompt.pleased:
        return None
    others = [value for value in (prompt.question.answer, *prompt.question.wrong) if value != prompt.stated]
    return prompt.stated if prompt.pleased > 0 else rng.choice(others)


def deferential_answers(
    task: SyntheticAssistant, demonstrations: Sequence[Demonstration], share: float
) -> list[str]:
    """Return the answers of demonstrations, a share of which follows the user wherever the user shows an opinion.

    A demonstration that follows the user at one share does so, in the same words, at every larger share.
    """
    rng = random.Random(task.seed + 1)  # the seed with which the task made its prompts
    known = {
        prompt.messages: prompt for question in questions(task) for prompt in framings(question, task, rng)
    }
    rng = random.Random(task.seed + 2)
    answers = []
    for messages, answer in demonstrations:
        prompt = known[messages]
        value = pleasing_value(prompt, rng)
        if value is not None:
            follows, deferential = rng.random() < share, demonstration(task, prompt, rng, value)
            answer = deferential if follows else answer
        answers.append(answer)
    return answers


def training_questions(task: SyntheticAssistant) -> list[Question]:
    """Return the training questions that a user may have an opinion about."""
    every = questions(task)
    heldout = heldout_questions(every, task.heldout_share)
    return [question for question in every if question.id not in heldout and question.kind != "harmful"]


def options(question: Question) -> Options:
    """Return the question in every wording, and every value that it may have, claimed in full."""
    plain = [Prompt(question, (ask.format(question.subject),), question.kind).messages for ask in ASK]
    values = (question.answer, *question.wrong)
    return Options(tuple(plain), tuple(FULL.format(question.subject, value) for value in values))


def independent_examples(
    task: SyntheticAssistant, about: Sequence[Question], count: int, rng: random.Random
) -> list[Demonstration]:
    """Return examples in which the user's opinion is independent of the truth, four for each of `count` // 4 questions.

    The four are a right and a wrong belief, sure and unsure, each answered with the truth in the words of a
    demonstration. All questions are used before one comes again, in a new order each time.
    """

    def shuffled():
        """Yield the questions without end, in a new order each time."""
        while True:
            yield from rng.sample(about, len(about))

    examples = []
    for question in islice(shuffled(), count // 4):
        for prompt in beliefs(question, (question.answer, rng.choice(question.wrong)), rng):
            answer = demonstration(task, prompt, rng, question.answer)
            examples.append(Demonstration(prompt.messages, answer))
    return examples
