"""GRPO and RLOO: TRL's trainers and losses on rollouts with several answers to each prompt and no critic."""

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
from rlhf_lab.stages.policy.online.rollouts import Report, Rollout, Rollouts, arguments, token_logps
from rlhf_lab.stages.policy.online.setup import Setup


class Group(Rollouts):
    """What the two methods share: what TRL's losses need of a rollout, and log-probabilities of its answers."""

    config: Grouped
    ARGUMENTS: ClassVar[type[GRPOConfig] | type[RLOOConfig]]
    advantages: Callable[[torch.Tensor, int], torch.Tensor]  # (B,) from rewards (B,) in groups of this size

    def __init__(self, setup: Setup, config: Grouped, out: Path, device: str, report: Report) -> None:
        args = self.ARGUMENTS(**arguments(config, out, device), epsilon=config.clip)
        super().__init__(setup, config, args, report, config.group)

    def units_per_answer(self, mask: torch.Tensor) -> torch.Tensor | float:
        """Return how many of the units that TRL's loss is a mean over one answer has, from the answers' mask (B, T)."""
        raise NotImplementedError

    def loss_inputs(self, rollout: Rollout) -> dict[str, Any]:
        """Return what TRL's losses read, under TRL's names."""
        batch, mask = rollout.batch, rollout.mask
        prompt = batch.ids.shape[1] - mask.shape[1]
        rewards = rollout.score - rollout.penalty.sum(1)
        attention_mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        return {
            "prompt_ids": batch.ids[:, :prompt],
            "prompt_mask": attention_mask[:, :prompt],
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
        """Return the log-probabilities of the answers' tokens, (B, T), with absolute positions counted from the prompt.

        Where TRL wants an entropy to log, it gets the unbiased estimate from the sampled tokens.
        """
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
        return loss + penalty / self.units_per_answer(inputs["completion_mask"])

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        norm = torch.as_tensor(super()._clip_grad_norm(model))
        self._require_finite("gradient norm", norm)
        return norm


class GRPOOnRollouts(Group, GRPOTrainer):
    """TRL's GRPO: advantages are standardised within a prompt, and the loss is a mean over tokens (its default)."""

    ARGUMENTS = GRPOConfig
    advantages = staticmethod(pg.group_advantages)

    def units_per_answer(self, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean number of tokens: the loss is a mean over tokens."""
        return mask.sum(1).float().mean()


class RLOOOnRollouts(Group, RLOOTrainer):
    """TRL's RLOO: advantages over the prompt's other answers; the loss is a mean over answers, as is its ratio."""

    ARGUMENTS = RLOOConfig
    advantages = staticmethod(pg.leave_one_out_advantages)

    def units_per_answer(self, mask: torch.Tensor) -> float:
        """Return 1: the loss is a mean over answers."""
        return 1.0
