"""GRPO and RLOO: TRL's trainers and losses on our rollouts, several answers to each prompt and no critic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from rlhf_lab.config.online import Grouped
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models.batches import Batch
from rlhf_lab.stages.policy.online.problem import Problem
from rlhf_lab.stages.policy.online.rollouts import Report, Rollout, Rollouts, arguments, token_logps


class Group(Rollouts):
    """What TRL's two losses need of a rollout, and log-probabilities that mind absolute positions."""

    config: Grouped
    ARGUMENTS: ClassVar[type[GRPOConfig] | type[RLOOConfig]]
    advantages: Callable[[torch.Tensor, int], torch.Tensor]  # (B,) from rewards (B,) in groups of this size

    def __init__(self, problem: Problem, config: Grouped, out: Path, device: str, report: Report) -> None:
        args = self.ARGUMENTS(**arguments(config, out, device), epsilon=config.clip)
        super().__init__(problem, config, args, report, config.group)

    def answer(self, mask: torch.Tensor) -> torch.Tensor | float:
        """How much of TRL's loss is one answer, from the answers' mask (B, T), in what the loss is a mean of."""
        raise NotImplementedError

    def learned_from(self, rollout: Rollout) -> dict[str, Any]:
        """TRL's names for what its losses read."""
        batch, mask = rollout.batch, rollout.mask
        prompt = batch.ids.shape[1] - mask.shape[1]
        rewards = rollout.score - rollout.taken.sum(1)
        whole = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        return {
            "prompt_ids": batch.ids[:, :prompt],
            "prompt_mask": whole[:, :prompt],
            "completion_ids": batch.answers,
            "completion_mask": mask.long(),
            "advantages": self.advantages(rewards, self.config.group),
            "old_per_token_logps": rollout.logps,
            "old_logps": (rollout.logps * mask).sum(1),
            "num_items_in_batch": mask.sum(),
        }

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Of the answers' tokens (B, T); where TRL logs an entropy, its unbiased estimate from the sampled tokens."""
        padded = not bool(attention_mask[:, :-logits_to_keep].all())
        answers = attention_mask[:, -logits_to_keep:].bool()
        mask = (
            torch.cat([attention_mask[:, :-logits_to_keep], torch.ones_like(answers)], 1) if padded else None
        )
        logps = token_logps(model, Batch(np.arange(len(input_ids)), input_ids, mask, answers))
        self._logps = logps  # for the penalty
        return logps, -logps.detach(), None

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        self._require_finite("policy loss", loss)
        self.note(policy_loss=loss)
        penalty = self.penalty_in_loss(model, self._logps, inputs["old_per_token_logps"], inputs)
        return loss + penalty / self.answer(inputs["completion_mask"])

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        norm = torch.as_tensor(super()._clip_grad_norm(model))
        self._require_finite("gradient norm", norm)
        return norm


class GRPOOnRollouts(Group, GRPOTrainer):
    """TRL's GRPO: advantages standardised within a prompt, the loss a mean over tokens (its default)."""

    ARGUMENTS = GRPOConfig
    advantages = staticmethod(pg.group_advantages)

    def answer(self, mask: torch.Tensor) -> torch.Tensor:
        """Of a mean over tokens."""
        return mask.sum(1).float().mean()


class RLOOOnRollouts(Group, RLOOTrainer):
    """TRL's RLOO: advantages over the prompt's other answers, the loss a mean over answers, as is its ratio."""

    ARGUMENTS = RLOOConfig
    advantages = staticmethod(pg.leave_one_out_advantages)

    def answer(self, mask: torch.Tensor) -> float:
        """Of a mean over answers."""
        return 1.0
