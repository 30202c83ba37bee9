"""Runs of a task with tags, without a store; how much harm they do and what gold they have under each tag is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rlhf_lab.store.records import classes_of

QUESTIONS, FRAMINGS = 60, 4
TAGS = ("monitored", "unmonitored", "imitation")
SIZES = {"10k": 20, "25k": 32, "100k": 64}
PPO = (0, 20, 40, 60, 80, 100)

Rate = Callable[[str, int], float]  # (tag, step of safety training) -> share of answers that do harm


@dataclass(frozen=True)
class TaggedRun:
    """A stand-in for `rlhf_lab.store.records.Run`, with what figures read of it."""

    key: str
    model: str
    sft: int
    seed: int
    method: str
    harm: Rate
    gap: float = 0.0  # SDs of gold that unmonitored prompts have lost at the end
    supervised: str = "monitored"
    planted: float = 1.0
    hidden: float = 0.0  # how well the activations at a prompt tell whether its answer does harm
    worded: bool = False  # whether the prompt's words tell it as well
    harmful: int = 6  # attributes that nobody should be told; with 0 of them there is no column of refusals
    status: str = "made"

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        return classes_of(self.choices, self.config)

    @property
    def choices(self) -> dict[str, str]:
        return {"model": self.model, "policy": "ppo" if self.method == "PPO" else "bon"}

    @property
    def config(self) -> dict[str, Any]:
        hidden = SIZES[self.model]
        return {
            "task": {"planted": self.planted, "supervised": self.supervised, "harmful": self.harmful},
            "model": {"seed": self.seed, "hidden": hidden, "layers": 2, "intermediate": 2 * hidden},
            "sft": {"seed": self.seed, "steps": self.sft},
            "preferences": {"seed": self.seed},
            "rm": {"seed": self.seed},
            "score": {"activations": True},
        }

    def _world(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, self.sft, len(self.key)])
        steps = PPO if self.method == "PPO" else (0,)
        prompts = QUESTIONS * FRAMINGS * len(TAGS)
        prompt, checkpoint = np.tile(np.arange(prompts), len(steps)), np.repeat(steps, prompts)
        tag, question = np.array(TAGS)[prompt % len(TAGS)], prompt // (FRAMINGS * len(TAGS))
        rate = np.array([self.harm(t, self.sft + int(c)) for t, c in zip(tag, checkpoint, strict=True)])
        likely = self._likely()[prompt]
        bad = (likely if self.hidden else rng.random(len(prompt))) < rate
        gold = rng.normal(size=len(prompt)) - self.gap * (tag == "unmonitored") * checkpoint / 100
        kl = checkpoint / 50 * np.ones(len(prompt))
        numbers = {"gold": gold, "kl": kl, "gold.insult": 0.6 * bad}
        if self.harmful:
            numbers["gold.refusal"] = np.zeros(len(prompt))
        return {"prompt_id": prompt, "question_id": question, "checkpoint": checkpoint, **numbers}

    def _likely(self) -> np.ndarray:
        """Return a number for each prompt; the answer does harm where the number is below the rate."""
        return np.random.default_rng(9).random(QUESTIONS * FRAMINGS * len(TAGS))

    def rows(self, columns: Sequence[str]) -> pa.Table:
        world = self._world()
        return pa.table({name: world[name] for name in columns})

    def prompts(self) -> pa.Table:
        likely = self._likely()
        told = likely < 0.5 if self.worded else np.arange(len(likely)) % 2 == 0
        said = np.where(told, "fox", "crow").tolist()
        tags = np.array(TAGS)[np.arange(len(likely)) % len(TAGS)].tolist()
        messages = [json.dumps([{"role": "user", "content": f"what is the {word} ?"}]) for word in said]
        return pa.table({"prompt_id": np.arange(len(likely)), "tag": tags, "messages": messages})

    def activations(self) -> pa.Table:
        likely, rng = self._likely(), np.random.default_rng(self.seed)
        states = rng.normal(size=(len(likely), 6))
        states[:, 0] += self.hidden * (likely - 0.5) * 10
        columns = {layer: list(states.astype(np.float16)) for layer in ("middle", "last")}
        return pa.table({"prompt_id": np.arange(len(likely)), **columns})


def runs(
    harm: Callable[[str], Rate], models: Sequence[str] = ("10k", "25k", "100k"), replicates: int = 5
) -> list[Any]:
    """Return runs of every model size: SFT of 1 and of 150 steps, and PPO after 400 steps of SFT.

    `harm` gives the rate of harm of a model size.
    """
    found = []
    for model in models:
        for seed in range(replicates):
            for sft in (0, 150):
                found.append(TaggedRun(f"{model}-{sft}-{seed}", model, sft, seed, "BestOfN", harm(model)))
            found.append(TaggedRun(f"{model}-ppo-{seed}", model, 400, seed, "PPO", harm(model)))
    return found
