"""The stages of the methods that train a policy with one of TRL's trainers: which trainer each method uses.

Every stage leaves `samples.parquet`, `reference.parquet`, `tokenizer/`, `model/` and `metrics.jsonl`. The policy is
evaluated on held-out prompts on a schedule, and SFT is both its start and its reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.online import PPO, RLOO, Online, OnlineDPO
from rlhf_lab.config.policies import KTO, Direct
from rlhf_lab.config.runtime import Runtime

if TYPE_CHECKING:
    from rlhf_lab.stages.policy.online.run import Make

VERSION = {"ppo": 2, "grpo": 1, "rloo": 1, "online_dpo": 1, "dpo": 1, "kto": 1}


def run(config: Online | Direct, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train a policy on rollouts (PPO, GRPO, RLOO, online DPO) or on preference pairs (DPO, IPO, SLiC, KTO)."""
    if isinstance(config, Direct):
        from rlhf_lab.stages.policy import direct, direct_trainers

        make = direct_trainers.kto_trainer if isinstance(config, KTO) else direct_trainers.dpo_trainer
        direct.learn(config, inputs, out, runtime, make)
    else:
        from rlhf_lab.stages.policy.online import run as online

        online.run(config, inputs, out, runtime, _trainer_on_rollouts(config, inputs))


def _trainer_on_rollouts(config: Online, inputs: Mapping[str, Path]) -> Make:
    if isinstance(config, PPO):
        from rlhf_lab.stages.policy.online.ppo import ppo_trainer

        return ppo_trainer(inputs)
    if isinstance(config, OnlineDPO):
        from rlhf_lab.stages.policy.online.pairs import OnlineDPOTrainer

        return OnlineDPOTrainer
    from rlhf_lab.stages.policy.online.grouped import GRPOOnRollouts, RLOOOnRollouts

    return RLOOOnRollouts if isinstance(config, RLOO) else GRPOOnRollouts
