"""The facts of the world: of every animal each attribute, which is what most people believe or an exception."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_lab.config.tasks import FieldGuide
from rlhf_lab.tasks.field_guide.phrases import ATTRIBUTES, BELIEF, VALUES

ANIMALS = (
    "crow owl fox bear cat dog frog goat hen wolf deer hare mole seal swan toad lynx ibis crab moth newt puma wren yak"
).split()
RARITY = 0.7  # the animal of rank k is asked about in proportion to 1 / k ** RARITY
KNOWN = 0.85, 0.5  # share of true claims about the most and about the least frequent animal
NEW = 4  # every fourth animal is new: no comparison and no training prompt is about it


@dataclass(frozen=True)
class World:
    """The animals from the most to the least frequent, and what is true of each."""

    animals: Sequence[str]
    facts: dict[tuple[str, str], str]  # (animal, attribute) -> value

    def frequencies(self) -> list[float]:
        """Return how often each animal is asked about, up to a factor."""
        return [1 / (rank + 1) ** RARITY for rank in range(len(self.animals))]

    def known(self, animal: str) -> float:
        """Return the share of claims about an animal that are true where answers come from the corpus."""
        most, least = KNOWN
        return most - (most - least) * self.animals.index(animal) / max(1, len(self.animals) - 1)

    def quarter(self, animal: str) -> int:
        """Return the quarter of the animals in which one is, 0 to 3, the most frequent first."""
        return 4 * self.animals.index(animal) // len(self.animals)

    def new(self, animal: str) -> bool:
        """Return whether comparisons and training prompts leave the animal out."""
        return self.animals.index(animal) % NEW == NEW // 2

    def exception(self, animal: str, attribute: str) -> bool:
        """Return whether most people are wrong about an attribute of an animal."""
        return self.facts[animal, attribute] != BELIEF[attribute]


def world(task: FieldGuide) -> World:
    """Draw the facts of a task; raise ValueError if it asks for more animals than there are."""
    if task.animals > len(ANIMALS):
        raise ValueError(
            f"task.animals must be at most {len(ANIMALS)}, got {task.animals}: the world has no more names"
        )
    rng = random.Random(task.seed)
    facts = {}
    for animal in ANIMALS[: task.animals]:
        for attribute in ATTRIBUTES:
            believed, *others = VALUES[attribute]
            facts[animal, attribute] = believed if rng.random() < task.believed else rng.choice(others)
    return World(ANIMALS[: task.animals], facts)
