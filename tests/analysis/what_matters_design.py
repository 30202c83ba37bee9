"""The design of the sweep what_matters: its factors, its 16 cells, and the overrides that make each cell.

The first four factors of the reward model span the design, and each of the others is a product of three of them:
2^(8-4), resolution IV. Best-of-n has no KL penalty, and so seven of the eight factors.
"""

from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from analysis.statistics.factorial import Signs


class Knob(NamedTuple):
    """A factor of the sweep and the overrides of its two levels."""

    name: str  # the config group or setting that varies
    first: str
    second: str


KNOBS = (
    Knob("rm", "rm=3k", "rm=25k"),
    Knob("preferences.pairs", "preferences.pairs=1000", "preferences.pairs=4000"),
    Knob("labeler", "labeler=gold_argmax", "labeler=flip labeler.rate=0.25"),
    Knob("rm_combination", "rm_combination=single", "rm_combination=mean rm_combination.members=3"),
    Knob("rm.init", "rm.init=lm", "rm.init=scratch"),
    Knob("rm.center", "rm.center=0", "rm.center=0.01"),
    Knob("preferences.answers", "preferences.answers=2", "preferences.answers=4"),
)
PENALTY = Knob("policy.kl_coef", "policy.kl_coef=0", "policy.kl_coef=0.1")
BASE = 4
GENERATORS = ((1, 2, 3), (0, 2, 3), (0, 1, 2), (0, 1, 3))  # E = BCD, F = ACD, G = ABC, H = ABD
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
