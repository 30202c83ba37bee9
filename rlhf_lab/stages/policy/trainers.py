"""The stages that train a policy with one of TRL's trainers: PPO, GRPO, RLOO, online DPO, DPO, IPO, SLiC and KTO.

Methods on rollouts (`online/`) optimise the proxy reward from the task's training prompts; direct methods (`direct`)
learn from preference pairs. The initial policy and reference is SFT. Every stage leaves `samples.parquet` (answers to
held-out prompts at every checkpoint), `reference.parquet`, `tokenizer/`, `model/` and `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.online import PPO, RLOO, Online, OnlineDPO
from rlhf_lab.config.policies import KTO, Direct
from rlhf_lab.config.runtime import Runtime

if TYPE_CHECKING:
    from rlhf_lab.scoring.reward_models import RewardOf
    from rlhf_lab.stages.policy.online.training import MakeTrainer

VERSION = {"ppo": 2, "grpo": 1, "rloo": 1, "online_dpo": 1, "dpo": 1, "kto": 1}


def check(config: Online | Direct, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError, before anything runs, if a direct method would learn nothing from so many pairs."""
    if isinstance(config, Direct):
        config.optimiser_steps(inputs["pairs"].preferences.pairs)


def run(
    config: Online | Direct,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
    reward: RewardOf | None = None,
) -> None:
    """Train the policy on rollouts or on preference pairs, as `config` says.

    Rollouts are scored by the proxy among the inputs, or by `reward` if it is given.
    """
    if isinstance(config, Direct):
        from rlhf_lab.stages.policy import direct, direct_trainers

        make = direct_trainers.kto_trainer if isinstance(config, KTO) else direct_trainers.dpo_trainer
        direct.train(config, inputs, out, runtime, make)
    else:
        from rlhf_lab.stages.policy.online import training

        training.train(config, inputs, out, runtime, _trainer_on_rollouts(config, inputs), reward)


def _trainer_on_rollouts(config: Online, inputs: Mapping[str, Path]) -> MakeTrainer:
    if isinstance(config, PPO):
        from rlhf_lab.stages.policy.online.ppo import ppo_trainer

        return ppo_trainer(inputs)
    if isinstance(config, OnlineDPO):
        from rlhf_lab.stages.policy.online.online_dpo import OnlineDPOTrainer

        return OnlineDPOTrainer
    from rlhf_lab.stages.policy.online.grpo_rloo import GRPOOnRollouts, RLOOOnRollouts

    return RLOOOnRollouts if isinstance(config, RLOO) else GRPOOnRollouts
