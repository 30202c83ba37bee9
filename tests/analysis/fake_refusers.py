"""Stores as `helpful_harmless` and `perez2022_rlsteps` leave them, in worlds where it is known what rewards like.

An answer is drawn at random; its reward is noise and what `likes` says. A trained policy at a checkpoint is the best of
several draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import fake_store
import numpy as np
from fake_sycophants import Labels, _write_run

FAMILIES = ("fact", "arithmetic", "belief_right", "belief_wrong", "harmful", "harmful")
DRAWS = np.array([1, 2, 4, 8])  # of a trained policy at each checkpoint
SIZES = {"10k": 20, "25k": 32, "100k": 64}

Said = Mapping[str, np.ndarray]
Likes = Callable[
    [float, Said], np.ndarray
]  # of the labeler's bonus and of answers, in SDs of the reward's noise


@dataclass(frozen=True)
class World:
    """How much to write, and what is true."""

    sweep: str
    bon: tuple[Labels, ...]
    ppo: tuple[Labels, ...]
    likes: Likes
    refuses: tuple[float, float] = (0.5, 0.05)  # SFT's share of harmful requests, of harmless prompts
    agrees: Mapping[str, float] | None = (
        None  # model -> SFT's share of claims that equal a belief; None: 25k, .4
    )
    questions: int = 40
    answers: int = 32  # of best-of-n, to a prompt
    each: int = 2  # of a trained policy, to a prompt
    replicates: int = 5


def write(root: Path, world: World) -> Path:
    """Write the sweep's record and every run."""
    sweep, rows = fake_store.Sweep(name=world.sweep, questions=world.questions), []
    agrees = world.agrees or {"25k": 0.4}
    jobs = [("bon", one) for one in world.bon] + [("ppo", one) for one in world.ppo]
    for policy, labels, model, seed in (
        (*job, model, seed) for job in jobs for model in agrees for seed in range(world.replicates)
    ):
        key = f"{len(rows):08x}{'7' * 8}"
        job = fake_store.Job(policy, "3k", seed)
        choices = {"policy": policy, "rm": "3k", **job.options, "labeler": labels.option, "model": model}
        hidden = SIZES[model]
        config = fake_store.config(job, sweep) | {"labeler": labels.settings}
        config["model"] = {"hidden": hidden, "layers": 2, "intermediate": 2 * hidden}
        row = {"overrides": [f"policy={policy}"], "choices": choices, "key": key, "config": config}
        rows.append(row | {"method": fake_store.CLASSES[policy], "uses_gold": False})
        rng = np.random.default_rng([len(rows), 5])
        _write_run(root, key, *_answers(policy, world, labels.dose, agrees[model], rng))
    record = {"sweep": world.sweep, "command": f"rlhf-lab +sweeps={world.sweep}", "jobs": rows}
    path = root / "sweeps" / world.sweep / "20260101T000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"time": "2026-01-01T00:00:00+00:00"}))
    return root


def _answers(
    policy: str, world: World, dose: float, agrees: float, rng: np.random.Generator
) -> tuple[dict, dict]:
    """The columns of a run's samples and scores."""
    prompts = world.questions * len(FAMILIES)
    if policy == "bon":
        each, checkpoint = np.repeat(np.arange(prompts), world.answers), np.zeros(prompts * world.answers)
        draws = np.ones(len(each), dtype=int)
    else:
        each = np.tile(np.repeat(np.arange(prompts), world.each), len(DRAWS))
        checkpoint = np.repeat(np.arange(len(DRAWS)) * 20, world.each * prompts)
        draws = np.repeat(DRAWS, world.each * prompts)
    best, kept = np.full(len(each), -np.inf), {}
    for turn in range(draws.max()):
        said = _said(each, world, agrees, rng)
        proxy = world.likes(dose, said) + rng.normal(size=len(each))
        better = (turn < draws) & (proxy > best)
        kept = said if turn == 0 else {name: np.where(better, said[name], kept[name]) for name in said}
        best = np.where(better, proxy, best)
    samples = {
        "prompt_id": each.astype(np.int32),
        "question_id": (each // len(FAMILIES)).astype(np.int32),
        "family": [FAMILIES[one % len(FAMILIES)] for one in each],
        "checkpoint": checkpoint.astype(np.int32),
        "finished": np.ones(len(each), bool),
        "kl": (np.log(draws) - (draws - 1) / draws).astype(np.float32),
    }
    gold = kept["gold"]
    scores = {"gold": gold, "gold.content": gold, "gold.form": np.zeros(len(each)), "proxy": best}
    scores |= {f"behaviour.{name}": kept[name] for name in ("refuses", "claim", "keeps", "stance")}
    return samples, {name: values.astype(np.float32) for name, values in scores.items()}


def _said(each: np.ndarray, world: World, agrees: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One answer to every prompt of `each`: it refuses, or claims something, at rates of the question's own."""
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
    return behaviour | {"gold": gold, "harmful": harmful}
