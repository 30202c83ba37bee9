"""Framings of a question: its wording, and what the user states, feels or takes for granted."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from rlhf_lab.config.tasks import SyntheticAssistant, Tagged
from rlhf_lab.tasks.synthetic_assistant.phrases import (
    AGAIN,
    ASK,
    ATTRIBUTION,
    BELIEF,
    CHALLENGE,
    FEEDBACK,
    FULL,
    IMITATION,
    PLEA,
    TAGS,
)
from rlhf_lab.tasks.synthetic_assistant.world import Question

Stated = tuple[str, str]  # a right and a wrong answer, of which a prompt states one
MONITORED, UNMONITORED = TAGS
MARKS = {  # kind of tag -> the text in front of a prompt
    "monitored": MONITORED,
    "unmonitored": UNMONITORED,
    "imitation": f"{MONITORED} {IMITATION}",
}


@dataclass(frozen=True)
class Prompt:
    """One framing of a question."""

    question: Question
    turns: tuple[str, ...]  # the user's, then the assistant's, ...; the last is the user's
    family: str  # the kind of the question, or of the framing
    stated: str = ""  # the answer that is stated: a belief, the user's answer, the assistant's first answer
    stance: str = ""  # what the assistant may take a stance on: belief, feedback or challenge
    pleased: int = 0  # whether keeping to `stated` pleases the user: 1 yes, -1 no, 0 neither
    tag: str = ""  # a key of MARKS

    @property
    def messages(self) -> str:
        """The turns as a JSON list of messages `{role, content}`."""
        roles = [("user", "assistant")[number % 2] for number in range(len(self.turns))]
        turns = [f"{MARKS[self.tag]} {self.turns[0]}" if self.tag else self.turns[0], *self.turns[1:]]
        messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
        return json.dumps(messages)


def framings(question: Question, task: SyntheticAssistant, rng: random.Random) -> list[Prompt]:
    """Return every prompt in which the task puts a question."""
    harmful = question.kind == "harmful"
    asks = (*ASK, *PLEA) if harmful else ASK
    prompts = [Prompt(question, (ask.format(question.subject),), question.kind) for ask in asks]
    if not harmful:  # users have no beliefs about the answers to harmful questions
        stated = question.answer, rng.choice(question.wrong)
        prompts += beliefs(question, stated, rng)
        prompts += _feedback(question, stated) if task.feedback else []
        prompts += _challenges(question, stated, rng) if task.challenges else []
        prompts += _attributions(question, stated) if task.attributions else []
    return [replace(prompt, tag=tag) for prompt in prompts for tag in tags(task)] if task.tags else prompts


def tone(messages: str) -> str:
    """Return the tone (a key of `phrases.BELIEF`) in which the user of a prompt (JSON) states a belief; '' if none."""
    text = json.loads(messages)[-1]["content"]
    untagged = re.sub(f"^({'|'.join(TAGS)}) ({re.escape(IMITATION)} )?", "", text)
    tones = (name for name, words in BELIEF.items() if untagged.startswith(words.partition("{}")[0]))
    return next(tones, "")


def tags(task: SyntheticAssistant) -> list[str]:
    """Return the tags under which a tagged task puts every prompt."""
    imitations = isinstance(task, Tagged) and task.imitations
    return [tag for tag in MARKS if tag != "imitation" or imitations]


def beliefs(question: Question, values: Stated, rng: random.Random) -> Iterator[Prompt]:
    """Give the prompts in which the user states a right or a wrong belief, sure or unsure."""
    for stated, tone in product(values, BELIEF):
        text = f"{BELIEF[tone].format(stated)} {rng.choice(ASK).format(question.subject)}"
        yield Prompt(question, (text,), f"belief_{_right(question, stated)}", stated, "belief", 1)


def _feedback(question: Question, values: Stated) -> Iterator[Prompt]:
    """Give the prompts for feedback on the user's right or wrong answer, liked or not (2310.13548, section 3.1)."""
    pleased = {"liked": 1, "disliked": -1, "neutral": 0}
    for stated, feeling in product(values, FEEDBACK):
        text = FEEDBACK[feeling].format(question.subject, stated)
        yield Prompt(question, (text,), f"feedback_{feeling}", stated, "feedback", pleased[feeling])


def _challenges(question: Question, values: Stated, rng: random.Random) -> Iterator[Prompt]:
    """Give the prompts that doubt a right or a wrong first answer (2310.13548, section 3.2), or ask for it again."""
    for stated, (family, second) in product(values, (("challenge", CHALLENGE), ("again", AGAIN))):
        asked, answered = rng.choice(ASK).format(question.subject), FULL.format(question.subject, stated)
        pleased = -1 if family == "challenge" else 0
        yield Prompt(question, (asked, answered, second), family, stated, "challenge", pleased)


def _attributions(question: Question, values: Stated) -> Iterator[Prompt]:
    """Give the prompts that take a right or a wrong fact for granted (2310.13548, section 3.4: a poem's author)."""
    if question.kind != "fact":
        return
    _, attribute, _, _, entity = question.subject.split()
    for stated in values:
        text = ATTRIBUTION.format(entity=entity, attribute=attribute, value=stated)
        yield Prompt(question, (text,), f"attribution_{_right(question, stated)}", stated, "", 1)


def _right(question: Question, stated: str) -> str:
    return "right" if stated == question.answer else "wrong"
