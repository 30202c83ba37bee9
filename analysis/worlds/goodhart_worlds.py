"""How often the joint claim of Goodhart's law errs: four arms of which it is known why gold falls.

In the nulls the arm was trained on noise, or its fall is what the oracle suffers too. In the other world its gold rises
and falls, and gold of the oracle rises on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.runs.goodhart import Curves, Goodhart, claim_parts, goodhart
from analysis.runs.kinds import NOISE, WEIGHT_NOISE
from analysis.statistics.claims import ClaimTable
from analysis.statistics.turnover import halves
from analysis.worlds.training_curves import Shape, Training, curves, falling, flat, plateau, rising, turning

LARGEST_D = 3.0  # nats^0.5, at the end of each training


class Arms(NamedTuple):
    """The shapes of gold of an arm and of its controls."""

    arm: Shape
    noise: Shape
    weight_noise: Shape
    oracle: Shape
    jitter: float = 0.0  # of each arm's runs at each checkpoint, SDs


NULLS = {
    "the arm is trained on noise": Arms(falling, falling, falling, rising),
    "the arm is trained on noise, runs jump by 0.2 SD at each checkpoint": Arms(
        falling, falling, falling, rising, 0.2
    ),
    "gold is flat": Arms(flat, falling, falling, rising),
    "gold rises to a plateau": Arms(plateau, falling, falling, rising),
    "gold turns, and so does the oracle's": Arms(turning(0.5), falling, falling, turning(0.5)),
    "gold turns, and so it does under noise": Arms(turning(0.5), turning(0.5), falling, rising),
}
GOODHART = Arms(turning(0.5), falling, falling, rising)


def parts(world: Arms, replicates: int, rng: np.random.Generator) -> Goodhart:
    """Return the parts of the claim in one draw of a world."""
    training = Training(replicates=replicates, jitter=world.jitter)
    d = np.linspace(0, LARGEST_D, training.checkpoints)

    def drawn(shape: Shape) -> Curves:
        """Return curves of one shape, each replicate with a reach of its own."""
        reaches = 1 + 0.05 * rng.normal(size=(replicates, 1))
        return Curves(reaches * d, curves(shape, training, rng))

    noises = {NOISE: drawn(world.noise), WEIGHT_NOISE: drawn(world.weight_noise)}
    return goodhart(drawn(world.arm), noises, drawn(world.oracle), halves(training.questions, rng))


def states(world: Arms, replicates: int, times: int, rng: np.random.Generator) -> list[bool | None]:
    """Return the decisions on `times` draws."""
    claims = ClaimTable("gao2022_fig1")
    for _ in range(times):
        claim_parts(claims, "arm", parts(world, replicates, rng), Training().questions)
    return [claim.met for claim in claims]
