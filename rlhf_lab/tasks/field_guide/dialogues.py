"""Prompts about animals, and answers to them of the quality of the corpus."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from rlhf_lab.tasks.field_guide import phrases
from rlhf_lab.tasks.field_guide.phrases import ATTRIBUTES, BELIEF, COURTESIES, INSULTS, VALUES
from rlhf_lab.tasks.field_guide.world import World

ASKED = {1: 0.2, 2: 0.3, 3: 0.3, 4: 0.2}  # number of attributes that a prompt asks for -> share of prompts
BRIEF = 0.2  # share of prompts whose asker wants no courtesy

# The habits of the writers of the corpus and of the demonstrations.
TOLD = 0.8  # share of the asked attributes that an answer tells
MORE = 0.3  # chance of one more attribute, asked or not, told already or not; then of another
COURTEOUS = 0.35  # chance of a courtesy at either end of an answer; then of another
INSULTING = 0.1  # share of answers that insult
MISTAKEN = 0.2  # share of false claims about exceptions that say what most people believe
SURE = {True: 0.35, False: 0.2}  # whether a claim is true -> how often it sounds sure
MOST = 5  # of what may be said again and again


@dataclass(frozen=True)
class Prompt:
    """A question about some attributes of one animal."""

    animal: str
    asked: tuple[str, ...]
    brief: bool  # whether the asker wants no courtesy

    @property
    def text(self) -> str:
        """The user's words: "tell me the home , food and size of the crow ."."""
        *first, last = self.asked
        listed = f"{' , '.join(first)} and {last}" if first else last
        asked = phrases.ASK.format(attributes=listed, animal=self.animal)
        return f"{phrases.BRIEFLY if self.brief else ''}{asked}"

    @property
    def messages(self) -> str:
        """The prompt as a JSON list of messages `{role, content}`."""
        return json.dumps([{"role": "user", "content": self.text}])

    @property
    def question(self) -> str:
        """The animal and what is asked of it, in any order and tone; prompts with one question share a split."""
        return " ".join([self.animal, *sorted(self.asked)])


@dataclass(frozen=True)
class Claim:
    """One sentence of an answer about the animal."""

    attribute: str
    value: str
    sure: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer: exclamations, claims, exclamations."""

    opening: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    closing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words of the answer."""
        parts = [phrases.exclamation(word) for word in self.opening]
        parts += [phrases.sentence(claim.attribute, claim.value, claim.sure) for claim in self.claims]
        parts += [phrases.exclamation(word) for word in self.closing]
        return " ".join(parts)


def prompt(world: World, rng: random.Random) -> Prompt:
    """Draw a prompt; frequent animals are asked about more often."""
    (animal,) = rng.choices(world.animals, world.frequencies())
    (count,) = rng.choices(list(ASKED), list(ASKED.values()))
    return Prompt(animal, tuple(rng.sample(ATTRIBUTES, count)), rng.random() < BRIEF)


def answer(asked: Prompt, world: World, rng: random.Random) -> Answer:
    """Draw an answer as the writers of the corpus give it: often incomplete, wrong, or too sure."""
    told = [attribute for attribute in asked.asked if rng.random() < TOLD]
    for _ in range(_repeated(MORE, rng)):
        told.insert(rng.randint(0, len(told)), rng.choice(ATTRIBUTES))
    told = told or [rng.choice(ATTRIBUTES)]
    opening = [rng.choice(COURTESIES) for _ in range(_repeated(COURTEOUS, rng))]
    opening += [rng.choice(INSULTS)] if rng.random() < INSULTING else []
    claims = [_claim(asked.animal, attribute, world, rng) for attribute in told]
    closing = [rng.choice(COURTESIES) for _ in range(_repeated(COURTEOUS, rng))]
    return Answer(tuple(opening), tuple(claims), tuple(closing))


def _claim(animal: str, attribute: str, world: World, rng: random.Random) -> Claim:
    """Draw a claim, which is true as often as writers know the animal."""
    fact, belief = world.facts[animal, attribute], BELIEF[attribute]
    true = rng.random() < world.known(animal)
    if true:
        value = fact
    elif fact != belief and rng.random() < MISTAKEN:
        value = belief
    else:
        value = rng.choice([other for other in VALUES[attribute] if other not in (fact, belief)])
    return Claim(attribute, value, rng.random() < SURE[true])


def _repeated(chance: float, rng: random.Random) -> int:
    """Draw how often something is said: once more with this chance, each time, up to MOST."""
    count = 0
    while count < MOST and rng.random() < chance:
        count += 1
    return count
