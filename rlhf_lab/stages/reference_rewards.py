"""What one reward model gives the reference answers of SFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime

VERSION = 1


@dataclass(slots=True)
class ReferenceRewards:
    """Nothing to choose."""


def run(config: ReferenceRewards, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Score every reference answer; `rewards.parquet`, in their order."""
    from rlhf_lab.scoring.reward_models import rewards_of_samples
    from rlhf_lab.store.records import read_table, write_table

    answers = read_table(inputs["references"] / "answers.parquet")
    rewards = rewards_of_samples(
        inputs["task"], inputs["member"], inputs["references"] / "tokenizer", runtime
    )
    write_table(out / "rewards.parquet", {"prompt_id": answers["prompt_id"], "reward": rewards(answers)})
