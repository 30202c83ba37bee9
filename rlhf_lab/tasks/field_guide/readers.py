"""What a reader says of an answer: false claims first, with the truth; then what is unasked, repeated or missing."""

from __future__ import annotations

import random

from rlhf_lab.tasks.field_guide import phrases
from rlhf_lab.tasks.field_guide.dialogues import Answer, Prompt
from rlhf_lab.tasks.field_guide.world import World

REMARKS = 3  # at most


def remarks(asked: Prompt, answered: Answer, world: World) -> tuple[list[str], list[str]]:
    """Return the remarks about false claims, and all others, in the order of the answer."""
    false, other, told = [], [], set()
    for claim in answered.claims:
        fact = world.facts[asked.animal, claim.attribute]
        if claim.attribute in told:
            other.append(phrases.REPEATED.format(attribute=claim.attribute))
        elif claim.value != fact:
            false.append(phrases.FALSE.format(sentence=phrases.sentence(claim.attribute, fact)))
        elif claim.attribute not in asked.asked:
            other.append(phrases.UNASKED.format(attribute=claim.attribute))
        told.add(claim.attribute)
    missing = [attribute for attribute in asked.asked if attribute not in told]
    return false, [*other, *(phrases.MISSING.format(attribute=attribute) for attribute in missing)]


def said(false: list[str], other: list[str], rng: random.Random) -> str:
    """Return what a reader says who has these remarks: at most three, those about false claims first."""
    ordered = [*rng.sample(false, len(false)), *rng.sample(other, len(other))]
    return " ".join(ordered[:REMARKS]) or phrases.RIGHT
