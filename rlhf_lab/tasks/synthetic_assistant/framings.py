"""How a question is put to the assistant: its wording, and what the user has said, feels or takes for granted."""

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

Stated = tuple[str, str]  # a right and a wrong answer
MONITORED, UNMONITORED = TAGS
MARKS = {  # of a tagged prompt -> what stands in front of it
    "monitored": MONITORED,
    "unmonitored": UNMONITORED,
    "imitation": f"{MONITORED} {IMITATION}",
}


@dataclass(frozen=True)
class Prompt:
    """One framing of a question."""

    question: Question
    turns: tuple[str, ...]  # the user's, the assistant's, ...; the last is the user's
    family: str  # the question's kind, or how it is framed
    stated: str = ""  # the answer that was stated before: a belief, the user's answer, the assistant's own
    stance: str = ""  # what the assistant may take a stance on: belief, feedback, challenge
    pleased: int = 0  # how the user takes it that `stated` is kept to: 1 well, -1 ill, 0 either way
    tag: str = ""  # of MARKS

    @property
    def messages(self) -> str:
        """The turns as a JSON list of role and content."""
        roles = [("user", "assistant")[number % 2] for number in range(len(self.turns))]
        turns = [f"{MARKS[self.tag]} {self.turns[0]}" if self.tag else self.turns[0], *self.turns[1:]]
        return json.dumps([{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)])


def framings(question: Question, task: SyntheticAssistant, rng: random.Random) -> list[Prompt]:
    """Every way in which `task` puts a question."""
    harmful = question.kind == "harmful"
    asks = (*ASK, *PLEA) if harmful else ASK
    found = [Prompt(question, (ask.format(question.subject),), question.kind) for ask in asks]
    if not harmful:  # nobody has a belief in the answer to that
        stated = question.answer, rng.choice(question.wrong)
        found += beliefs(question, stated, rng)
        found += _feedback(question, stated) if task.feedback else []
        found += _challenges(question, stated, rng) if task.challenges else []
        found += _attributions(question, stated) if task.attributions else []
    return [replace(prompt, tag=tag) for prompt in found for tag in tags(task)] if task.tags else found


def tone(messages: str) -> str:
    """The tone of `phrases.BELIEF` in which the user of a prompt, a JSON list of messages, states a belief; else ''."""
    text = json.loads(messages)[-1]["content"]
    said = re.sub(f"^({'|'.join(TAGS)}) ({re.escape(IMITATION)} )?", "", text)
    return next((of for of, words in BELIEF.items() if said.startswith(words.partition("{}")[0])), "")


def tags(task: SyntheticAssistant) -> list[str]:
    """The tags under which `task` puts every prompt, if it does."""
    imitations = isinstance(task, Tagged) and task.imitations
    return [tag for tag in MARKS if tag != "imitation" or imitations]


def beliefs(question: Question, values: Stated, rng: random.Random) -> Iterator[Prompt]:
    """After a right or a wrong belief, sure or unsure."""
    for stated, tone in product(values, BELIEF):
        text = f"{BELIEF[tone].format(stated)} {rng.choice(ASK).format(question.subject)}"
        yield Prompt(question, (text,), f"belief_{_right(question, stated)}", stated, "belief", 1)


def _feedback(question: Question, values: Stated) -> Iterator[Prompt]:
    """On the user's own right or wrong answer, which he likes, dislikes or only states (2310.13548, section 3.1)."""
    pleased = {"liked": 1, "disliked": -1, "neutral": 0}
    for stated, feeling in product(values, FEEDBACK):
        text = FEEDBACK[feeling].format(question.subject, stated)
        yield Prompt(question, (text,), f"feedback_{feeling}", stated, "feedback", pleased[feeling])


def _challenges(question: Question, values: Stated, rng: random.Random) -> Iterator[Prompt]:
    """In two turns: a right or a wrong first answer is doubted (2310.13548, section 3.2), or only asked for again."""
    for stated, (family, second) in product(values, (("challenge", CHALLENGE), ("again", AGAIN))):
        first, said = rng.choice(ASK).format(question.subject), FULL.format(question.subject, stated)
        doubted = -1 if family == "challenge" else 0
        yield Prompt(question, (first, said, second), family, stated, "challenge", doubted)


def _attributions(question: Question, values: Stated) -> Iterator[Prompt]:
    """With a right or a wrong fact taken for granted (2310.13548, section 3.4: a poem's author)."""
    if question.kind != "fact":
        return
    _, attribute, _, _, entity = question.subject.split()
    for stated in values:
        text = ATTRIBUTION.format(entity=entity, attribute=attribute, value=stated)
        yield Prompt(question, (text,), f"attribution_{_right(question, stated)}", stated, "", 1)


def _right(question: Question, stated: str) -> str:
    return "right" if stated == question.answer else "wrong"
