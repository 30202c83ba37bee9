"""Proximal policy optimisation on TRL's GRPOTrainer (TRL has had no PPO since 1.14).

This module adds advantages per token, the two losses and the critic: a model of its own that starts from the reward
model (2203.02155, C.4) and whose score head is read at every token. During training it is a submodule of the policy,
so that checkpoints, `zero_grad` and moves between devices include it; `policy_to_save` takes it off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rlhf_lab.config.online import PPO
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models.batches import Batch, positions, right_padded
from rlhf_lab.stages.policy.online.rollouts import (
    MAX_GRAD_NORM,
    Report,
    Rollout,
    Rollouts,
    arguments,
    group_size,
    token_logps,
)
from rlhf_lab.stages.policy.online.setup import Setup, load_critic, load_documents


def token_values(critic: Any, batch: Batch) -> torch.Tensor:
    """Return the critic's value before each token of the answers, (B, T), in units of the reward model."""
    trunk = getattr(critic, critic.base_model_prefix)
    width = batch.answer_mask.shape[1]
    hidden = trunk(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=positions(batch.mask), use_cache=False
    ).last_hidden_state
    return critic.score(hidden[:, -width - 1 : -1])[..., 0]


class PPOTrainer(Rollouts, GRPOTrainer):
    """PPO with a critic of its own, GAE and, if `ptx_coef` is above 0, documents of the base corpus mixed in."""

    config: PPO

    def __init__(
        self,
        setup: Setup,
        critic: PreTrainedModel,
        documents: Sequence[Sequence[int]],
        config: PPO,
        out: Path,
        device: str,
        report: Report,
    ) -> None:
        setup.policy.critic = critic
        self.critic, self.documents = critic, documents
        args = GRPOConfig(**arguments(config, out, device))
        super().__init__(setup, config, args, report, group_size(config.rollout, len(setup.prompts)))
        self.generators = {**self.generators, "documents": torch.Generator().manual_seed(config.seed)}

    def policy_to_save(self) -> PreTrainedModel:
        """Return the policy without its critic."""
        del self.setup.policy.critic
        return self.setup.policy

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return Adam with one learning rate for the policy and one for the critic."""
        if self.optimizer is not None:
            return self.optimizer
        config = self.config
        critic = {id(p) for p in self.critic.parameters()}
        policy = [p for p in self.setup.policy.parameters() if id(p) not in critic]
        groups = [{"params": policy}, {"params": list(self.critic.parameters()), "lr": config.critic_lr}]
        self.optimizer = torch.optim.Adam(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
        return self.optimizer

    def loss_inputs(self, rollout: Rollout) -> dict[str, Any]:
        """Return advantages per token and the returns that the critic learns."""
        config, mask, batch = self.config, rollout.mask, rollout.batch
        values = self._values(batch) * mask
        rewards = pg.token_rewards(rollout.score, rollout.penalty, mask)
        advantages = pg.gae(rewards, values, mask, config.gamma, config.gae_lambda)
        observed = pg.gae(rewards, torch.zeros_like(values), mask, config.gamma, 1.0)  # return to go
        self.note(explained_variance=pg.explained_variance(values, observed, mask))
        return {
            "logps": rollout.logps,
            "values": values,
            "returns": advantages + values,
            "advantages": pg.whiten(advantages, mask),
        }

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Return policy loss plus value loss; the two share no weights, so no coefficient weighs them."""
        config, batch = self.config, Batch.of(inputs, "")
        mask = batch.answer_mask
        logps, old_logps = token_logps(model, batch), inputs["logps"]
        policy_loss, clipped = pg.clipped_policy_loss(
            logps, old_logps, inputs["advantages"], mask, config.clip
        )
        value_loss = pg.clipped_value_loss(
            self._values(batch), inputs["values"], inputs["returns"], mask, config.value_clip
        )
        self._require_finite("policy loss", policy_loss)
        self._require_finite("value loss", value_loss)
        self.note(policy_loss=policy_loss, value_loss=value_loss, clip_fraction=clipped)
        penalty = self.penalty_in_loss(model, logps, old_logps, inputs)
        per_answer = mask.sum(1).float().mean()  # the policy loss is a mean over tokens
        return policy_loss + penalty / per_answer + value_loss + self._pretraining_loss(model)

    def _pretraining_loss(self, model: nn.Module) -> torch.Tensor | float:
        """Return `ptx_coef` x the loss on documents of the base corpus, nats a token (2203.02155, Eq. 2)."""
        config = self.config
        if not config.ptx_coef:
            return 0.0
        generator = self.generators["documents"]
        chosen = torch.randint(len(self.documents), (config.ptx_batch,), generator=generator).tolist()
        ids, mask = right_padded([self.documents[row] for row in chosen], pad=0)
        ids, mask = ids.to(self.args.device), mask.to(self.args.device)[:, 1:]
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        logps = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
        loss = -pg.masked_mean(logps, mask)
        self._require_finite("pretraining loss", loss)
        self.note(pretraining_loss=loss)
        return config.ptx_coef * loss

    def _values(self, batch: Batch) -> torch.Tensor:
        """Return the critic's values (B, T) in SDs of the reward, the unit of returns."""
        return (token_values(self.critic, batch) - self.setup.mean) / self.setup.sd

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        """Clip policy and critic apart, so that a surprised critic does not slow the policy down."""
        critic = list(self.critic.parameters())
        of_critic = {id(p) for p in critic}
        policy = [p for p in model.parameters() if id(p) not in of_critic]
        norms = [nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM) for parameters in (critic, policy)]
        self._require_finite("gradient norm", torch.stack(norms))
        return norms[1]


def ppo_trainer(inputs: Mapping[str, Path]) -> Callable[[Setup, PPO, Path, str, Report], PPOTrainer]:
    """Return a function that makes the trainer with its critic and its documents of the base corpus."""

    def make(setup: Setup, config: PPO, out: Path, device: str, report: Report) -> PPOTrainer:
        """Return the trainer with its critic and documents."""
        critic = load_critic(inputs, setup.tokenizer, device, config.seed)
        longest = max(map(len, setup.prompts)) + setup.answer_tokens
        documents = load_documents(inputs["task"], setup.tokenizer, longest) if config.ptx_coef else []
        return PPOTrainer(setup, critic, documents, config, out, device, report)

    return make
