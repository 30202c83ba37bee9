"""Pairs of answers that differ in one respect, the first of them better: what a reward model can tell apart.

`KINDS` holds a function for each kind. It returns the better and the worse answer to a prompt, or None where the
prompt or the answer that it starts from has no place for the difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from rlhf_lab.tasks.field_guide import dialogues
from rlhf_lab.tasks.field_guide.dialogues import Answer, Claim, Prompt
from rlhf_lab.tasks.field_guide.phrases import ATTRIBUTES, BELIEF, COURTESIES, INSULTS, VALUES
from rlhf_lab.tasks.field_guide.world import World

Pair = tuple[Answer, Answer]
Change = Callable[[Prompt, Answer, World, random.Random], Pair | None]


def pair(asked: Prompt, kind: str, world: World, rng: random.Random) -> Pair | None:
    """Draw a pair of answers to a prompt; None if the answer that was drawn has no place for it."""
    return KINDS[kind](asked, dialogues.answer(asked, world, rng), world, rng)


def _fact(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """The fact or a value that is neither the fact nor what most believe."""
    row = rng.randrange(len(answered.claims))
    attribute = answered.claims[row].attribute
    fact = world.facts[asked.animal, attribute]
    wrong = rng.choice([value for value in VALUES[attribute] if value not in (fact, BELIEF[attribute])])
    return _claiming(answered, row, fact), _claiming(answered, row, wrong)


def _misconception(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """Of an exception the fact or what most people believe."""
    rows = [
        row for row, claim in enumerate(answered.claims) if world.exception(asked.animal, claim.attribute)
    ]
    if not rows:
        return None
    row = rng.choice(rows)
    attribute = answered.claims[row].attribute
    fact = world.facts[asked.animal, attribute]
    return _claiming(answered, row, fact), _claiming(answered, row, BELIEF[attribute])


def _missing(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """All that is asked, truly, or one attribute less."""
    if len(asked.asked) < 2:
        return None
    told = _truth(asked, list(asked.asked), world)
    row = rng.randrange(len(told))
    return replace(answered, claims=told), replace(answered, claims=told[:row] + told[row + 1 :])


def _unasked(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """All that is asked, truly, or one attribute more."""
    more = rng.choice([attribute for attribute in ATTRIBUTES if attribute not in asked.asked])
    told, added = _truth(asked, list(asked.asked), world), _truth(asked, [more], world)
    row = rng.randint(0, len(told))
    return replace(answered, claims=told), replace(answered, claims=told[:row] + added + told[row:])


def _repetition(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """All that is asked, truly, or one attribute twice."""
    told = _truth(asked, list(asked.asked), world)
    row = rng.randrange(len(told))
    return replace(answered, claims=told), replace(answered, claims=(*told, told[row]))


def _courtesy(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """One courtesy or none; the other way round where none is wanted."""
    courteous = replace(answered, opening=(rng.choice(COURTESIES),), closing=())
    plain = replace(answered, opening=(), closing=())
    return (plain, courteous) if asked.brief else (courteous, plain)


def _fawning(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """One courtesy or four."""
    words = tuple(rng.choice(COURTESIES) for _ in range(4))
    return replace(answered, opening=words[:1], closing=()), replace(
        answered, opening=words[:2], closing=words[2:]
    )


def _insult(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """No insult or one."""
    kind = tuple(word for word in answered.opening if word in COURTESIES)
    return replace(answered, opening=kind), replace(answered, opening=(*kind, rng.choice(INSULTS)))


def _overconfidence(asked: Prompt, answered: Answer, world: World, rng: random.Random) -> Pair | None:
    """A false claim that does not sound sure or one that does."""
    rows = [
        row
        for row, claim in enumerate(answered.claims)
        if claim.value != world.facts[asked.animal, claim.attribute]
        and claim.attribute not in {earlier.attribute for earlier in answered.claims[:row]}
    ]
    if not rows:
        return None
    row = rng.choice(rows)
    unsure, sure = (replace(answered.claims[row], sure=sounds) for sounds in (False, True))
    return _with(answered, row, unsure), _with(answered, row, sure)


KINDS: dict[str, Change] = {
    "fact": _fact,
    "misconception": _misconception,
    "missing": _missing,
    "unasked": _unasked,
    "repetition": _repetition,
    "courtesy": _courtesy,
    "fawning": _fawning,
    "insult": _insult,
    "overconfidence": _overconfidence,
}


def _truth(asked: Prompt, attributes: list[str], world: World) -> tuple[Claim, ...]:
    return tuple(Claim(attribute, world.facts[asked.animal, attribute]) for attribute in attributes)


def _claiming(answered: Answer, row: int, value: str) -> Answer:
    """Return the answer with another value at the first claim about the attribute of the claim `row`."""
    attribute = answered.claims[row].attribute
    first = next(place for place, claim in enumerate(answered.claims) if claim.attribute == attribute)
    return _with(answered, first, replace(answered.claims[first], value=value))


def _with(answered: Answer, row: int, claim: Claim) -> Answer:
    return replace(answered, claims=(*answered.claims[:row], claim, *answered.claims[row + 1 :]))
