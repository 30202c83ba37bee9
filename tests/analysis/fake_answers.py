"""Answers of made runs: a table of SFT's, or at each checkpoint of a policy the best of several draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import fake_store
import numpy as np

Said = dict[str, np.ndarray]


class Asked(NamedTuple):
    """What A answers are to."""

    each: np.ndarray  # (A,) prompt_id
    checkpoint: np.ndarray  # (A,)
    draws: np.ndarray  # (A,) of which an answer is the best

    def best(self, say: Callable[[], Said], likes: Callable[[Said], np.ndarray]) -> tuple[np.ndarray, Said]:
        """The highest reward (A,) of its draws and the answer that has it."""
        best, kept = np.full(len(self.each), -np.inf), {}
        for turn in range(self.draws.max()):
            said = say()
            reward = likes(said)
            better = (turn < self.draws) & (reward > best)
            kept = said if turn == 0 else {name: np.where(better, said[name], kept[name]) for name in said}
            best = np.where(better, reward, best)
        return best, kept

    def samples(self, families: list[str]) -> dict:
        """The columns of their samples; `families` of a question's prompts."""
        return {
            "prompt_id": self.each.astype(np.int32),
            "question_id": (self.each // len(families)).astype(np.int32),
            "family": [families[one % len(families)] for one in self.each],
            "checkpoint": self.checkpoint.astype(np.int32),
            "finished": np.ones(len(self.each), bool),
            "kl": (np.log(self.draws) - (self.draws - 1) / self.draws).astype(np.float32),
        }


def table(prompts: int, answers: int) -> Asked:
    """So many SFT answers to each prompt."""
    each = np.repeat(np.arange(prompts), answers)
    return Asked(each, np.zeros(len(each)), np.ones(len(each), dtype=int))


def course(prompts: int, answers: int, draws: Sequence[int], every: int) -> Asked:
    """So many answers to each prompt at checkpoints `every` so many steps, each the best of ever more draws."""
    each = np.tile(np.repeat(np.arange(prompts), answers), len(draws))
    steps = np.repeat(np.arange(len(draws)) * every, answers * prompts)
    return Asked(each, steps, np.repeat(draws, answers * prompts))


def write_run(root: Path, key: str, samples: dict, scores: dict) -> None:
    """Write a run's samples, and of its scores what there is of gold, proxy and behaviour."""
    of = ("policy", key + "g")
    made = fake_store._write_artifact(root, *of, {}, fake_store.WORLD, samples=samples)
    inputs: dict[str, tuple[str, str, str]] = {"samples": (*of, made)}
    for name in ("gold", "proxy", "behaviour"):
        columns = {column: values for column, values in scores.items() if column.startswith(name)}
        told, read = ("score", key + name[0]), {"samples": inputs["samples"]}
        if columns:
            made = fake_store._write_artifact(root, *told, read, fake_store.WORLD, scores=columns)
            inputs[name] = (*told, made)
    fake_store._write_artifact(root, "run", key, inputs, fake_store.WORLD)


def write_record(root: Path, name: str, rows: Sequence[dict]) -> None:
    """Write the record of a sweep of these jobs."""
    path = root / "sweeps" / name / "20260101T000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"sweep": name, "command": f"rlhf-lab +sweeps={name}", "time": "2026-01-01T00:00:00+00:00"}
    path.write_text(json.dumps({**told, "jobs": rows}))
