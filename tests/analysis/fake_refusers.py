"""Write the sweeps `helpful_harmless`, `perez2022_rlsteps` and `labeler_dose`, with random numbers for models.

Answers are drawn at random; the reward of an answer is noise plus what the world's `likes` gives. At each checkpoint
an answer of a trained policy is the best of several draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import fake_store
import numpy as np
from fake_answers import Said, course, table, write_record, write_run
from fake_sycophants import Labels

FAMILIES = ("fact", "arithmetic", "belief_right", "belief_wrong", "harmful", "harmful")
BEHAVIOUR = ("refuses", "claim", "keeps", "stance", "sure", "unsure")
DRAWS = (1, 2, 4, 8)  # of a trained policy at each checkpoint
SIZES = {"10k": 20, "25k": 32, "100k": 64}

# (the labeler's bonus, A answers) -> (A,) reward in SDs of the reward's noise
Likes = Callable[[float, Said], np.ndarray]


@dataclass(frozen=True)
class World:
    """What a sweep consists of, how large its tables are, and what is true of its answers."""

    sweep: str
    bon: tuple[Labels, ...]
    ppo: tuple[Labels, ...]
    likes: Likes
    # share of harmful requests, and of harmless prompts, that SFT refuses
    refuses: tuple[float, float] = (0.5, 0.05)
    # size of the policy -> share of SFT's claims that equal the user's belief; None: 0.4 of a policy of 25k
    agrees: Mapping[str, float] | None = None
    questions: int = 40
    answers: int = 32  # answers to a prompt in a table of best-of-n
    each: int = 2  # answers of a trained policy to a prompt
    replicates: int = 5


def write(root: Path, world: World) -> Path:
    """Write the sweep's record and every run."""
    sweep, rows = fake_store.Sweep(name=world.sweep, questions=world.questions), []
    agrees = world.agrees or {"25k": 0.4}
    jobs = [("bon", labels) for labels in world.bon] + [("ppo", labels) for labels in world.ppo]
    for (policy, labels), model, seed in product(jobs, agrees, range(world.replicates)):
        key = f"{len(rows):08x}{'7' * 8}"
        job = fake_store.Job(policy, "3k", seed)
        choices = {"policy": policy, "rm": "3k", **job.options, "labeler": labels.option, "model": model}
        hidden = SIZES[model]
        config = fake_store.config(job, sweep) | {"labeler": labels.settings}
        config["model"] = {"hidden": hidden, "layers": 2, "intermediate": 2 * hidden}
        row = {"overrides": [f"policy={policy}"], "choices": choices, "key": key, "config": config}
        rows.append(row | {"method": fake_store.CLASSES[policy], "uses_gold": False})
        rng = np.random.default_rng([len(rows), 5])
        write_run(root, key, *_answers(policy, world, labels.dose, agrees[model], rng))
    write_record(root, world.sweep, rows)
    return root


def _answers(
    policy: str, world: World, dose: float, agrees: float, rng: np.random.Generator
) -> tuple[dict, dict]:
    """Return the columns of a run's samples and those of its scores."""
    prompts = world.questions * len(FAMILIES)
    asked = table(prompts, world.answers) if policy == "bon" else course(prompts, world.each, DRAWS, 20)
    best, kept = asked.best(
        lambda: _said(asked.each, world, agrees, rng),
        lambda said: world.likes(dose, said) + rng.normal(size=len(asked.each)),
    )
    gold = kept["gold"]
    scores = {"gold": gold, "gold.content": gold, "gold.form": np.zeros(len(gold)), "proxy": best}
    scores |= {f"behaviour.{name}": kept[name] for name in BEHAVIOUR}
    samples = asked.samples(list(FAMILIES)) | {"tokens": kept["tokens"].astype(np.int32)}
    return samples, {name: values.astype(np.float32) for name, values in scores.items()}


def _said(each: np.ndarray, world: World, agrees: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw an answer to every prompt of `each`; it refuses or claims something at rates of its question."""
    family = np.array(FAMILIES)[each % len(FAMILIES)]
    harmful, own = family == "harmful", 0.8 + 0.4 * (each // len(FAMILIES)) / world.questions
    refuses = rng.random(len(each)) < own * np.where(harmful, *world.refuses)
    belief, silent = np.char.startswith(family, "belief"), refuses | (rng.random(len(each)) < 0.05)
    agreed = rng.random(len(each)) < own * agrees
    keeps = np.where(silent | ~belief, 0.0, np.where(agreed, 1.0, -1.0))
    right = np.where(belief, (keeps > 0) == (family == "belief_right"), rng.random(len(each)) < 0.4)
    claim = np.where(silent, 0.0, np.where(right, 1.0, -1.0))
    worth = np.where(harmful, np.where(refuses, 1.5, -1.5), np.where(claim == 0, -0.75, 1.5 * claim))
    gold = worth + 0.5 * rng.normal(size=len(each))
    behaviour = {"refuses": refuses.astype(float), "claim": claim, "keeps": keeps, "stance": keeps}
    (apart,) = rng.spawn(1)
    tone = apart.choice([-1, 0, 1], p=(0.2, 0.5, 0.3), size=len(each))
    behaviour |= {"sure": (tone > 0).astype(float), "unsure": (tone < 0).astype(float)}
    return behaviour | {"gold": gold, "harmful": harmful, "tokens": apart.integers(8, 25, size=len(each))}
