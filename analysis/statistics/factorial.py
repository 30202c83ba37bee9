"""Two-level designs: the one of `what_matters`, and the algebra of any other.

Levels are -1 and 1. In a design of resolution IV main effects are clear of each other and of every product of two
factors; what is said of such a product is said of a set of them that share one column (their alias set).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int64]
Pair = tuple[int, int]  # places of two factors


class Knob(NamedTuple):
    """A factor of the sweep and the overrides of its two levels."""

    name: str  # the config group or setting that varies
    first: str
    second: str


KNOBS = (  # of the reward model; the first four span the design
    Knob("rm", "rm=3k", "rm=25k"),
    Knob("preferences.pairs", "preferences.pairs=1000", "preferences.pairs=4000"),
    Knob("labeler", "labeler=gold_argmax", "labeler=flip labeler.rate=0.25"),
    Knob("rm_combination", "rm_combination=single", "rm_combination=mean rm_combination.members=3"),
    Knob("rm.init", "rm.init=lm", "rm.init=scratch"),
    Knob("rm.center", "rm.center=0", "rm.center=0.01"),
    Knob("preferences.answers", "preferences.answers=2", "preferences.answers=4"),
)
PENALTY = Knob(
    "policy.kl_coef", "policy.kl_coef=0", "policy.kl_coef=0.1"
)  # of PPO; best-of-n has no such knob
BASE = 4
GENERATORS = (
    (1, 2, 3),
    (0, 2, 3),
    (0, 1, 2),
    (0, 1, 3),
)  # E = BCD, F = ACD, G = ABC, H = ABD: 2^(8-4), resolution IV
METHODS: Mapping[str, tuple[str, tuple[Knob, ...]]] = {  # method -> its settings, its knobs
    "bon": ("policy=bon policy.seed=100 policy.samples=512", KNOBS),
    "ppo": ("policy=ppo policy.steps=100 policy.evaluations=10", (*KNOBS, PENALTY)),
}


def fraction(factors: int) -> Signs:
    """(16, factors): the first columns of the design, the first row all at the first level."""
    base = np.array(list(product((-1, 1), repeat=BASE)))
    columns = [base, *(base[:, of].prod(axis=1, keepdims=True) for of in GENERATORS)]
    return np.concatenate(columns, axis=1)[:, :factors]


def cells(method: str) -> list[str]:
    """The overrides of each cell of a method, as `sweeps/what_matters.yaml` has them."""
    settings, knobs = METHODS[method]
    return [
        " ".join(
            [
                settings,
                *(knob.first if sign < 0 else knob.second for knob, sign in zip(knobs, row, strict=True)),
            ]
        )
        for row in fraction(len(knobs))
    ]


# --- of any design ------------------------------------------------------------------------------------------


def check(design: Signs, names: Sequence[str]) -> None:
    """Raise ValueError unless every factor of a design (cells, factors) is balanced and orthogonal to every other."""
    count = len(design)
    for place, name in enumerate(names):
        if design[:, place].sum():
            raise ValueError(
                f"{name} has its two levels in {(design[:, place] < 0).sum()} and {(design[:, place] > 0).sum()} of "
                f"{count} cells; a balanced design has each in half of them"
            )
    for one, other in combinations(range(len(names)), 2):
        if overlap := int(design[:, one] @ design[:, other]):
            raise ValueError(
                f"{names[one]} and {names[other]} are at like levels in {(count + overlap) // 2} of {count} cells; "
                "in an orthogonal design in half of them"
            )


def alias_sets(design: Signs) -> list[list[Pair]]:
    """The pairs of factors whose products are one column up to its sign, the set with the most pairs first."""
    found: dict[bytes, list[Pair]] = {}
    for pair in combinations(range(design.shape[1]), 2):
        column = design[:, pair].prod(axis=1)
        found.setdefault((column * column[0]).tobytes(), []).append(pair)
    return sorted(found.values(), key=len, reverse=True)


def confounded(design: Signs) -> list[tuple[int, Pair]]:
    """Main effects that a product of two other factors is part of; empty from resolution IV on."""
    return [
        (place, pair)
        for pair in combinations(range(design.shape[1]), 2)
        for place in range(design.shape[1])
        if place not in pair and design[:, place] @ design[:, pair].prod(axis=1)
    ]
