"""Write runs whose answers are drawn at random.

A best-of-n run has a table of SFT answers. At each checkpoint of a trained policy an answer is the best of several
draws, by a reward that the test defines, so that its KL from SFT is that of best-of-n.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import fake_store
import numpy as np

Said = dict[str, np.ndarray]


class Asked(NamedTuple):
    """The prompts, checkpoints and numbers of draws of A answers."""

    each: np.ndarray  # (A,) prompt_id
    checkpoint: np.ndarray  # (A,)
    draws: np.ndarray  # (A,) the answer is the best of so many draws

    def best(self, say: Callable[[], Said], likes: Callable[[Said], np.ndarray]) -> tuple[np.ndarray, Said]:
        """Return the highest reward (A,) of each answer's draws, and what the draw with that reward says.

        `say` draws one answer to every prompt; `likes` gives the rewards (A,) of such answers.
        """
        best, kept = np.full(len(self.each), -np.inf), {}
        for turn in range(self.draws.max()):
            said = say()
            reward = likes(said)
            better = (turn < self.draws) & (reward > best)
            kept = said if turn == 0 else {name: np.where(better, said[name], kept[name]) for name in said}
            best = np.where(better, reward, best)
        return best, kept

    def samples(self, families: list[str]) -> dict:
        """Return the columns of the samples; `families` are those of a question's prompts, in order."""
        return {
            "prompt_id": self.each.astype(np.int32),
            "question_id": (self.each // len(families)).astype(np.int32),
            "family": [families[prompt % len(families)] for prompt in self.each],
            "checkpoint": self.checkpoint.astype(np.int32),
            "finished": np.ones(len(self.each), bool),
            "kl": (np.log(self.draws) - (self.draws - 1) / self.draws).astype(np.float32),
        }


def table(prompts: int, answers: int) -> Asked:
    """Return `answers` SFT answers to each of `prompts` prompts."""
    each = np.repeat(np.arange(prompts), answers)
    return Asked(each, np.zeros(len(each)), np.ones(len(each), dtype=int))


def course(prompts: int, answers: int, draws: Sequence[int], every: int) -> Asked:
    """Return `answers` answers to each of `prompts` prompts at the checkpoints 0, `every`, 2 `every` and so on.

    At the i-th checkpoint an answer is the best of `draws[i]`.
    """
    each = np.tile(np.repeat(np.arange(prompts), answers), len(draws))
    steps = np.repeat(np.arange(len(draws)) * every, answers * prompts)
    return Asked(each, steps, np.repeat(draws, answers * prompts))


def write_run(root: Path, key: str, samples: dict, scores: dict) -> None:
    """Write a run: its samples, and a table of scores for each of gold, proxy and behaviour that has columns."""

    def write(stage: str, artifact: str, inputs: dict, **tables: dict) -> tuple[str, str, str]:
        digest = fake_store._write_artifact(root, stage, artifact, inputs, fake_store.WORLD, **tables)
        return stage, artifact, digest

    samples_of = write("policy", f"{key}g", {}, samples=samples)
    inputs = {"samples": samples_of}
    for name in ("gold", "proxy", "behaviour"):
        columns = {column: values for column, values in scores.items() if column.startswith(name)}
        if columns:
            inputs[name] = write("score", key + name[0], {"samples": samples_of}, scores=columns)
    write("run", key, inputs)


def write_record(root: Path, name: str, rows: Sequence[dict]) -> None:
    """Write the record of the sweep `name`, whose jobs are `rows`."""
    path = root / "sweeps" / name / "20260101T000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "sweep": name,
        "command": f"rlhf-lab experiment={name}",
        "time": "2026-01-01T00:00:00+00:00",
        "jobs": rows,
    }
    path.write_text(json.dumps(record))
