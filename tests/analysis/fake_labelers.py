"""Write a sweep over the competence of limited labelers, with random numbers in place of models.

An answer makes a right or a wrong claim, may sound sure, and has a trait `h` that the proxy rewards and that makes the
answer look better. `Labelled` says what the trait does to gold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fake_answers import write_record, write_run
from fake_store import Job, Sweep, config

OPERATIONS = 4
DIFFICULTIES = OPERATIONS + 1  # facts and sums


@dataclass(frozen=True)
class Labelled:
    """How many runs to write, and what is true of their answers."""

    # gold that an answer loses with the square of its trait, for each operation that the labeler cannot check
    harm: float = 0.12
    # whether a labeler that cannot check an answer is misled; if not, answers look as good as they are
    ceiling: bool = True
    silent: float = 0.05  # share of answers without a claim
    competences: tuple[int, ...] = (-1, 0, 1, 2, 3, 4)
    trained: tuple[int, ...] = (0, 4)
    replicates: int = 5
    questions: int = 60
    answers: int = 64
    behaviour: bool = True  # whether behaviour was scored


def write(root: Path, world: Labelled, name: str = "ceiling") -> None:
    """Write the sweep's record and its runs."""
    rows = []
    for policy, competences in (("bon", world.competences), ("ppo", world.trained)):
        for competence in competences:
            for seed in range(world.replicates):
                key = f"{policy}{competence + 1}{seed}".ljust(16, "0")
                rng = np.random.default_rng([competence + 1, seed, len(policy)])
                samples, scores = _answers(world, policy, competence, rng)
                write_run(root, key, samples, scores)
                rows.append(_job(key, policy, competence, seed))
    write_record(root, name, rows)


def _job(key: str, policy: str, competence: int, seed: int) -> dict:
    settings = config(Job(policy, "3k", seed), Sweep())
    settings |= {"labeler": {"temperature": 0.0, "competence": competence}}
    settings["task"] = {"seed": 0, "operations": OPERATIONS}
    choices = {"policy": policy, "rm": "3k", "model": "25k", "labeler": "limited"}
    method = {"bon": "BestOfN", "ppo": "PPO"}[policy]
    return {
        "overrides": [f"rm.seed={seed}"],
        "choices": choices,
        "key": key,
        "config": settings,
        "method": method,
        "uses_gold": False,
    }


def _answers(world: Labelled, policy: str, competence: int, rng: np.random.Generator) -> tuple[dict, dict]:
    each = 2 if policy == "ppo" else world.answers
    prompts = np.repeat(np.arange(world.questions * 2), each)
    steps = np.linspace(0, 100, 6).astype(int) if policy == "ppo" else np.zeros(1, int)
    prompt, step = np.tile(prompts, len(steps)), np.repeat(steps, len(prompts))
    question, shift, count = prompt // 2, 2.4 * step / 100, len(prompt)
    h, difficulty = rng.normal(size=count) + shift, question % DIFFICULTIES
    known = np.where(world.ceiling, 0.0, 0.6 * h)
    right = known + rng.normal(size=count) > -0.4
    unchecked = OPERATIONS - competence
    sure = rng.normal(size=count) < 0.3 + 0.2 * unchecked * h  # what the labeler's reward model comes to like
    silent = rng.random(count) < world.silent
    worth = np.where(silent, -0.75, np.where(right, 1.5, -1.5))
    if world.ceiling:
        gold = worth + 0.5 * h - world.harm * unchecked * np.maximum(h, 0) ** 2
        believed = np.where(silent, -0.75, 1.5 * sure) + 0.2 * h
    else:
        gold = believed = worth + 0.1 * rng.normal(size=count)
    samples = {
        "prompt_id": prompt.astype(np.int32),
        "question_id": question.astype(np.int32),
        "family": np.where(prompt % 2, "belief_right", "arithmetic").tolist(),
        "checkpoint": step.astype(np.int32),
        "finished": np.ones(count, dtype=bool),
        "kl": (shift**2 / 2).astype(np.float32),
    }
    scores = {
        "gold": gold,
        "gold.content": gold,
        "gold.form": np.zeros(count),
        "proxy": h,
        "behaviour.claim": np.where(silent, 0.0, np.where(right, 1.0, -1.0)),
        "behaviour.believed": believed,
        "behaviour.difficulty": difficulty,
    }
    kept = {name: value for name, value in scores.items() if world.behaviour or "behaviour" not in name}
    return samples, {name: value.astype(np.float32) for name, value in kept.items()}
