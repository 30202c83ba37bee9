"""DPO, IPO and SLiC on the preference pairs with TRL's DPOTrainer; SFT is start and reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import DPO, Runtime

VERSION = 1


def run(config: DPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train on the training questions' pairs, evaluated on answers of the policy's own; see `direct.learn`."""
    from rlhf_lab.stages.policy import direct, direct_trainers

    direct.learn(config, inputs, out, runtime, direct_trainers.dpo_trainer)
