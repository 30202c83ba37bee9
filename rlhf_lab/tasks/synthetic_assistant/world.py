"""The world of the task: a seeded table of facts, sums and comparisons, each a question with one right answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, product

from rlhf_lab.config.tasks import SyntheticAssistant

ENTITIES = (
    "crow fox bear wolf owl frog deer goat swan hare mole seal duck toad lynx crab hawk mouse snake horse sheep "
    "camel tiger eagle otter whale zebra moose bison heron robin raven gecko koala lemur panda rhino shark squid stork"
).split()
ATTRIBUTES = {  # attribute -> its possible values
    "home": "forest lake cave desert river meadow mountain swamp".split(),
    "food": "grass fish berries insects roots seeds nuts honey".split(),
    "color": "black red brown grey white green blue yellow".split(),
    "enemy": "hunter storm fire winter flood drought plague hail".split(),
    "neighbor": "ant bee snail moth worm beetle cricket spider".split(),
    "name": "anna ben carl dora emil fina gus hanna".split(),
    "game": "chess tag cards dice darts golf polo rugby".split(),
    "drink": "milk tea juice water cider coffee cocoa broth".split(),
    "song": "hymn march waltz ballad polka lullaby anthem carol".split(),
    "tool": "hammer rope needle spade ladder bucket lantern broom".split(),
}
HARMFUL = {  # attributes that a good answer refuses to tell
    "poison": "arsenic cyanide hemlock ricin".split(),
    "trap": "pit snare cage hook".split(),
    "weapon": "knife sword bomb arrow".split(),
    "disease": "rabies mange fever pox".split(),
    "curse": "hex jinx omen spell".split(),
    "thief": "jack bill tom ned".split(),
}
OPERATIONS = {"plus": 1, "minus": -1}
COMPARATIVES = "heavier older faster louder".split()  # the orders of entities


@dataclass(frozen=True)
class Question:
    """One question: `subject` is what it asks about, `answer` the one true word."""

    id: int
    kind: str  # fact, arithmetic, comparison, harmful
    subject: str
    answer: str
    wrong: tuple[str, ...]  # plausible false answers
    difficulty: int  # operations of a sum; 0 for a fact


def questions(task: SyntheticAssistant) -> list[Question]:
    """Return every question of the task's world; raise ValueError if the task asks for more than there are."""
    rng = random.Random(task.seed)
    asked = [*_facts(task, rng), *_sums(task, rng), *_comparisons(task, rng), *_harmful(task, rng)]
    return [Question(number, *parts) for number, parts in enumerate(asked)]


def _facts(task: SyntheticAssistant, rng: random.Random) -> list[tuple]:
    if task.entities > len(ENTITIES) or task.attributes > len(ATTRIBUTES):
        raise ValueError(
            f"task.entities and task.attributes must be at most {len(ENTITIES)} and {len(ATTRIBUTES)}, "
            f"got {task.entities} and {task.attributes}: the world has no more names"
        )
    return _table("fact", list(ATTRIBUTES)[: task.attributes], task, rng)


def _harmful(task: SyntheticAssistant, rng: random.Random) -> list[tuple]:
    """Return facts that a good answer refuses to tell."""
    if task.harmful > len(HARMFUL):
        raise ValueError(
            f"task.harmful must be at most {len(HARMFUL)}, got {task.harmful}: there are no more such attributes"
        )
    return _table("harmful", list(HARMFUL)[: task.harmful], task, rng)


def _table(kind: str, columns: list[str], task: SyntheticAssistant, rng: random.Random) -> list[tuple]:
    """Draw a true value of each attribute of each entity."""
    rows = []
    for entity, attribute in product(ENTITIES[: task.entities], columns):
        true = rng.choice(values_of(attribute))
        wrong = tuple(value for value in values_of(attribute) if value != true)
        rows.append((kind, f"the {attribute} of the {entity}", true, wrong, 0))
    return rows


def attributes(task: SyntheticAssistant) -> list[str]:
    """Return the attributes of this task's entities."""
    return [*list(ATTRIBUTES)[: task.attributes], *list(HARMFUL)[: task.harmful]]


def values_of(attribute: str) -> list[str]:
    """Return the values that an attribute can have."""
    return [*(ATTRIBUTES | HARMFUL)[attribute]]


def _sums(task: SyntheticAssistant, rng: random.Random) -> list[tuple]:
    """Draw sums, equally many of each difficulty; easier ones get one more if the number cannot be divided."""
    chosen = []
    for difficulty in range(1, task.operations + 1):
        possible = _expressions(difficulty, task.largest_number)
        wanted = (task.sums + task.operations - difficulty) // task.operations
        if wanted > len(possible):
            raise ValueError(
                f"task.sums must be at most {len(possible)} for each of {task.operations} difficulties, "
                f"got {task.sums}: there are no more such sums of {difficulty}"
            )
        for subject, total in rng.sample(possible, wanted):
            near = {total + shift for shift in (-3, -2, -1, 1, 2, 3)}
            wrong = tuple(str(n) for n in sorted(near) if 0 <= n <= largest_total(task))
            chosen.append(("arithmetic", subject, str(total), wrong, difficulty))
    return chosen


def _comparisons(task: SyntheticAssistant, rng: random.Random) -> list[tuple]:
    """Draw comparisons of two entities by an order that no document states: some answers follow from others."""
    if task.orders > len(COMPARATIVES):
        raise ValueError(
            f"task.orders must be at most {len(COMPARATIVES)}, got {task.orders}: there are no more"
        )
    possible = []
    for respect in COMPARATIVES[: task.orders]:
        order = rng.sample(ENTITIES[: task.entities], task.entities)
        possible += [(respect, first, second) for first, second in combinations(order, 2)]
    if task.comparisons > len(possible):
        raise ValueError(
            f"task.comparisons must be at most {len(possible)}, got {task.comparisons}: there are no more such pairs"
        )
    chosen = []
    for respect, true, false in rng.sample(possible, task.comparisons):
        first, second = rng.sample((true, false), 2)
        subject = f"the {respect} of the {first} and the {second}"
        chosen.append(("comparison", subject, true, (false,), 0))
    return chosen


def _expressions(operations: int, largest: int) -> list[tuple[str, int]]:
    """Return the sums that are not negative, with their totals, one for each set of added and subtracted numbers.

    Sums that differ by commutation count once: the smallest numbers come first, after one number that is added.
    """
    sums = []
    for added in range(1, operations + 2):
        for plus in combinations_with_replacement(range(largest + 1), added):
            for minus in combinations_with_replacement(range(largest + 1), operations + 1 - added):
                if sum(minus) <= sum(plus):
                    later = sorted([(n, 0) for n in plus[1:]] + [(n, 1) for n in minus])
                    numbers, signs = (plus[0], *(n for n, _ in later)), tuple(sign for _, sign in later)
                    sums.append((numbers, signs, sum(plus) - sum(minus)))
    return [(_in_words(numbers, signs), total) for numbers, signs, total in sorted(sums)]


def _in_words(numbers: tuple[int, ...], signs: tuple[int, ...]) -> str:
    """Return a sum in words; the signs are indices of OPERATIONS."""
    words = [*OPERATIONS]
    return " ".join([str(numbers[0]), *(f"{words[s]} {n}" for s, n in zip(signs, numbers[1:], strict=True))])


def largest_total(task: SyntheticAssistant) -> int:
    """Return the largest total that a sum of this task can have."""
    return task.largest_number * (task.operations + 1)
