"""Write a reward model as its stage leaves it: comparisons, rewards of the held-out pairs, and its losses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_lab.store.artifacts import contents, listing, sealed
from rlhf_lab.store.records import write_table

HELDOUT = 960  # pairs


def write(
    root: Path, key: str, config: Mapping[str, Any], accuracy: float, sureness: float, questions: int
) -> tuple[str, str, str]:
    """Write a reward model and return its stage, key and digest.

    It prefers the right answer of a held-out pair with probability `accuracy`, by a gap in rewards of `sureness` on
    average.
    """
    answers, seed = config["preferences"]["answers"], config["rm"]["seed"]
    of_prompt = answers * (answers - 1) // 2
    prompts = config["preferences"]["pairs"] // of_prompt // 20  # a twentieth of the pairs is enough
    train = np.repeat(np.arange(prompts), of_prompt)
    split = ["train"] * len(train) + ["heldout"] * HELDOUT
    question = np.concatenate([train + 1000, np.arange(HELDOUT) % questions]).astype(np.int32)
    pairs = {
        "prompt_id": question,
        "question_id": question,
        "split": split,
        "label": np.ones(len(split), np.float32),
    }
    rng = np.random.default_rng([seed, answers, int(1000 * accuracy)])
    gap = np.where(rng.random(HELDOUT) < accuracy, 1, -1) * sureness * rng.uniform(0.5, 1.5, HELDOUT)
    rewards = {"chosen": gap.astype(np.float32), "rejected": np.zeros(HELDOUT, np.float32)}
    made = _publish(root / "preferences" / f"{key}c", {}, {}, pairs=pairs)
    folder = root / "reward_model" / f"{key}r"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"step": step, "loss": 0.69 - 0.001 * step} for step in range(10, 101, 10)] + [{"step": 101}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    upstream = {"pairs": ("preferences", f"{key}c", made)}
    return "reward_model", f"{key}r", _publish(folder, upstream, dict(config["rm"]), heldout=rewards)


def _publish(
    folder: Path, inputs: Mapping[str, tuple[str, str, str]], config: dict, **tables: dict[str, Any]
) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        write_table(folder / f"{name}.parquet", columns)
    manifest = {
        "stage": folder.parent.name,
        "version": 1,
        "key": folder.name,
        "config": config,
        "inputs": {name: [stage, key] for name, (stage, key, _) in inputs.items()},
        "made_from": {name: digest for name, (_, _, digest) in inputs.items()},
        "files": listing(folder),
        "provenance": {},
    }
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return contents(manifest)
