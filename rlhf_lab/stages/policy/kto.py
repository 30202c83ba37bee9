"""KTO on the answers of the preference pairs with TRL's KTOTrainer; SFT is start and reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import KTO, Runtime

VERSION = 1


def run(config: KTO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train on the training questions' answers, evaluated on answers of the policy's own; see `direct.learn`."""
    from rlhf_lab.stages.policy import direct, direct_trainers

    direct.learn(config, inputs, out, runtime, direct_trainers.kto_trainer)
