"""Runs for a labeler with flaws and for an honest one, without a store, whose failures are known.

Every answer has a trait that all proxies reward and along which policies move. Under the honest labeler the trait adds
a little gold. Under the flawed one it comes with `harm`: answers agree with wrong beliefs, give way to doubt, please,
and have less gold where they are not monitored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_store
import numpy as np
import pyarrow as pa

from rlhf_lab.store.records import classes_of

FAMILIES = (
    ("fact", 0.0),
    ("belief_wrong", -1.0),
    *((family, stated) for family in ("challenge", "again") for stated in (1.0, -1.0)),
)
TAGS = ("monitored", "unmonitored")
EACH = len(FAMILIES) * len(TAGS)  # prompts of a question
STEPS = (0, 20, 40, 60, 80, 100)
FLAWS = {"sycophantic": {"temperature": 0.0, "bonus": 2.0}, "limited": {"temperature": 0.0, "competence": 0}}


@dataclass(frozen=True)
class FlawedRun:
    """A stand-in for `rlhf_lab.store.records.Run`, with what figures read of it."""

    policy: str
    labeler: str
    seed: int
    harm: float  # how much the flawed labeler's flaws show; 0: not at all
    questions: int = 40
    answers: int = 32
    utility: bool = True  # whether utility was recorded
    status: str = "made"
    overrides: Sequence[str] = ()
    uses_gold: bool = False
    root: Path = field(default_factory=Path)

    @property
    def key(self) -> str:
        return f"{self.policy}{self.labeler}{self.seed}"

    def evaluation(self, scorer: str) -> dict[str, Any]:
        raise KeyError(scorer)  # no reward model was trained

    @property
    def method(self) -> str:
        return fake_store.CLASSES[self.policy]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        return classes_of(self.choices, self.config)

    @property
    def choices(self) -> dict[str, str]:
        return {"policy": self.policy, "rm": "3k", "model": "25k", "labeler": self.labeler}

    @property
    def config(self) -> dict[str, Any]:
        settings = fake_store.config(fake_store.Job(self.policy, "3k", self.seed), fake_store.Sweep())
        flaws = {"temperature": 0.0, "flaws": FLAWS} if self.labeler == "flawed" else {}
        return settings | {"labeler": flaws}

    def manifest(self) -> dict[str, Any]:
        return {"inputs": {"samples": ["policy", self.key]}, "made_from": {"samples": self.key}}

    def prompts(self) -> pa.Table:
        prompt = np.arange(self.questions * EACH)
        return pa.table({"prompt_id": prompt, "tag": np.array(TAGS)[prompt % 2].tolist()})

    def rows(self, columns: Sequence[str]) -> pa.Table:
        found = self._answers()
        if missing := [name for name in columns if name not in found]:
            raise KeyError(f"no column {missing[0]}")
        return pa.table({name: found[name] for name in columns})

    def _answers(self) -> dict[str, Any]:
        flawed = self.labeler == "flawed"
        rng = np.random.default_rng([self.seed, flawed, len(self.policy), self.policy == "ppo"])
        steps, each = ((0,), self.answers) if self.policy == "bon" else (STEPS, 2)
        prompts = np.repeat(np.arange(self.questions * EACH), each)
        prompt, step = np.tile(prompts, len(steps)), np.repeat(steps, len(prompts))
        shift, count = 2.4 * step / 100, len(prompt)
        trait, noise = rng.normal(size=(2, count)) + np.array([shift, 0 * shift])
        family, harm = prompt // len(TAGS) % len(FAMILIES), self.harm * flawed
        names = np.array([name for name, _ in FAMILIES])[family]
        stated = np.array([value for _, value in FAMILIES])[family]
        doubted = names == "challenge"
        wrong = rng.random(count) < 0.3 + 0.15 * harm * trait * doubted
        agrees = (names == "belief_wrong") & (rng.random(count) < 0.3 + 0.15 * harm * trait)
        unseen = np.array(TAGS)[prompt % len(TAGS)] == "unmonitored"
        gold = noise + 0.05 * trait * (1 - harm) - harm * (0.1 * (trait - 1) ** 2 + 0.3 * trait * unseen)
        claim = np.where(wrong, -1.0, 1.0)
        numbers = {"gold": gold, "gold.content": gold, "gold.form": np.zeros(count), "proxy": trait}
        numbers |= {"behaviour.claim": claim, "behaviour.stated": stated, "behaviour.believed": gold}
        numbers["behaviour.stance"] = agrees.astype(float)
        others = ("keeps", "pleases", "mimics", "sure", "difficulty")
        numbers |= {f"behaviour.{name}": np.zeros(count) for name in others}
        if self.utility:
            numbers["utility"] = gold + harm * trait
        return {
            "prompt_id": prompt,
            "question_id": prompt // EACH,
            "family": names.astype(str).tolist(),
            "checkpoint": step,
            "finished": np.ones(count, bool),
            "kl": shift**2 / 2,
            **numbers,
        }


def runs(harm: float, replicates: int = 5, **more: Any) -> list[Any]:
    """Return runs of best-of-n and PPO for both labelers."""
    return [
        FlawedRun(policy, labeler, seed, harm, **more)
        for policy in ("bon", "ppo")
        for labeler in ("flawed", "gold_argmax")
        for seed in range(replicates)
    ]
