"""Write the sweep `sycophancy`, with random numbers in place of models, so that it is known how far answers please.

Answers are drawn at random; the reward of an answer is noise plus `liking(dose)` if it pleases the user. At each
checkpoint an answer of a trained policy is the best of several draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import fake_store
import numpy as np
from fake_answers import Said, course, table, write_record, write_run

RIGHT, WRONG = 1.0, -1.0
FAMILIES = (  # family, what was stated, how pleased the user is by an answer that keeps to it
    ("fact", 0.0, 0.0),
    ("fact", 0.0, 0.0),
    ("harmful", 0.0, 0.0),
    ("belief_right", RIGHT, 1.0),
    ("belief_right", RIGHT, 1.0),
    ("belief_wrong", WRONG, 1.0),
    ("belief_wrong", WRONG, 1.0),
    ("feedback_liked", RIGHT, 1.0),
    ("feedback_disliked", RIGHT, -1.0),
    ("feedback_neutral", RIGHT, 0.0),
    ("feedback_liked", WRONG, 1.0),
    ("feedback_disliked", WRONG, -1.0),
    ("feedback_neutral", WRONG, 0.0),
    ("challenge", RIGHT, -1.0),
    ("again", RIGHT, 0.0),
    ("challenge", WRONG, -1.0),
    ("again", WRONG, 0.0),
    ("attribution_right", RIGHT, 1.0),
    ("attribution_wrong", WRONG, 1.0),
)
DRAWS = (1, 2, 4, 8, 16)  # of a trained policy at each checkpoint


class Labels(NamedTuple):
    """A labeler of the sweep, and what the policies trained on its labels are like."""

    option: str  # of the config group `labeler`
    settings: dict[str, Any]
    dose: float  # how much its reward model rewards what pleases
    # config group -> option and settings, of what is done besides
    done: Mapping[str, tuple[str, dict[str, Any]]] = MappingProxyType({})
    claims: float = 0.0  # how much its reward model rewards an answer that claims what was stated
    costs: float = 0.0  # gold that its trained policies lose


GOLD = Labels("gold_argmax", {}, 0.0)
MIXTURE = Labels("mixture", {"first": {}, "second": {"bonus": 2.0}, "share": 0.5}, 1.0)


def sycophantic(bonus: float) -> Labels:
    return Labels("sycophantic", {"temperature": 0.0, "bonus": bonus}, bonus)


@dataclass(frozen=True)
class World:
    """What the sweep consists of, how large its tables are, and what is true of its answers."""

    # dose -> reward for what pleases, in SDs of the reward's noise
    liking: Callable[[float], float] = float
    questions: int = 40
    answers: int = 64
    replicates: int = 5
    beliefs: bool = False  # whether answers take a stance on beliefs
    truth: float = 0.0  # how much all reward models reward right claims to questions that are known
    by_gold: bool = False  # whether the proxy is gold
    name: str = "sycophancy"
    bon: tuple[Labels, ...] = (GOLD, *map(sycophantic, (-2.0, 1.0, 2.0, 4.0)), MIXTURE)
    ppo: tuple[Labels, ...] = (GOLD, sycophantic(2.0), MIXTURE)


def write(root: Path, world: World) -> Path:
    """Write the sweep's record and every run."""
    sweep, rows = fake_store.Sweep(name=world.name, questions=world.questions), []
    jobs = [("bon", labels) for labels in world.bon] + [("ppo", labels) for labels in world.ppo]
    for policy, labels in jobs:
        for seed in range(world.replicates):
            key = f"{len(rows):08x}{'5' * 8}"
            job = fake_store.Job(policy, "3k", seed)
            choices = {"policy": policy, "rm": "3k", **job.options, "labeler": labels.option}
            config = fake_store.config(job, sweep) | {"labeler": labels.settings}
            for group, (option, settings) in labels.done.items():
                choices, config = choices | {group: option}, config | {group: settings}
            method = fake_store.CLASSES[policy]
            row = {"overrides": [f"policy={policy}"], "choices": choices, "key": key, "config": config}
            rows.append(row | {"method": method, "uses_gold": False})
            drawn = _answers(policy, world, labels, np.random.default_rng([len(rows), 3]))
            write_run(root, key, *drawn)
    write_record(root, world.name, rows)
    return root


def _answers(policy: str, world: World, labels: Labels, rng: np.random.Generator) -> tuple[dict, dict]:
    """Return the columns of a run's samples and those of its scores."""
    prompts = world.questions * len(FAMILIES)
    asked = table(prompts, world.answers) if policy == "bon" else course(prompts, 2, DRAWS, 25)
    count = len(asked.each)

    def likes(said: Said) -> np.ndarray:
        known = world.truth * known_of(asked.each, world.questions) ** 2 * said["claim"]
        return (
            world.liking(labels.dose) * said["pleases"]
            + rng.normal(size=count)
            + labels.claims * said["keeps"]
            + known
        )

    best, kept = asked.best(lambda: _said(asked.each, world, rng), likes)
    content = kept["claim"] + 0.5 * rng.normal(size=count) - labels.costs * (asked.draws > 1)
    best = content if world.by_gold else best
    scores = {"gold": content, "gold.content": content, "gold.form": np.zeros(count), "proxy": best}
    scores |= {f"behaviour.{name}": values for name, values in kept.items()}
    samples = asked.samples([family for family, _, _ in FAMILIES])
    return samples, {name: values.astype(np.float32) for name, values in scores.items()}


def known_of(each: np.ndarray, questions: int) -> np.ndarray:
    """Return the probability that the question of each prompt is answered right."""
    return np.random.default_rng(1).uniform(0.2, 0.9, questions)[each // len(FAMILIES)]


def _said(each: np.ndarray, world: World, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw the behaviour of an answer to every prompt of `each`.

    A claim is right with the probability of its question; a stance is taken by the toss of a coin.
    """
    stated, pleased = (
        np.array([family[place] for family in FAMILIES])[each % len(FAMILIES)] for place in (1, 2)
    )
    known = known_of(each, world.questions)
    draw = rng.random(len(each))
    claim = np.where(draw < 0.1, 0.0, np.where(rng.random(len(each)) < known, 1.0, -1.0))
    agrees = np.where(rng.random(len(each)) < 0.6, claim == stated, rng.random(len(each)) < 0.3)
    keeps = np.where((claim == 0) | (stated == 0), 0.0, np.where(agrees, 1.0, -1.0))
    claim = np.where(keeps > 0, stated, claim)
    names = np.array([family[0] for family in FAMILIES])[each % len(FAMILIES)]
    takes = np.char.startswith(names, ("feedback")) | (names == "challenge") | (names == "again")
    stance = np.where(
        takes & (rng.random(len(each)) < 0.8), np.where(rng.random(len(each)) < 0.5, 1.0, -1.0), 0.0
    )
    doubted = (names == "challenge") | (names == "again")
    stance = np.where(doubted & (stance != 0), keeps, stance)  # who apologises claims something else
    if world.beliefs:
        coin = rng.choice([1.0, 0.0, -1.0], len(each))
        stance = np.where(np.char.startswith(names, "belief"), coin, stance)
    liking = np.char.startswith(names, "feedback")
    pleases = pleased * np.where((stance != 0) | liking, stance, keeps)
    return {
        "claim": claim,
        "keeps": keeps,
        "stance": stance,
        "pleases": pleases,
        "mimics": ((stated < 0) & (keeps > 0)).astype(float),
        "stated": stated,
        "sure": (rng.random(len(each)) < 0.4).astype(float),
    }
