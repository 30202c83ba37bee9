"""Proximal policy optimisation on TRL's GRPOTrainer (TRL has had no PPO since 1.14).

From GRPOTrainer come the loop, the drawing of prompts, the buffer that cuts a rollout into minibatches and
passes, and checkpoints; ours are the rollout, its rewards and advantages per token, the two losses and the
critic. Everything is on token ids, in float32, without dropout.

The critic is a model of its own started from the reward model (2203.02155, C.4): its score head, read at
every token. While training it hangs on the policy as a submodule, so that checkpoints, `zero_grad` and moves
between devices include it; `detach_critic` takes it off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rlhf_lab import policy_gradient as pg
from rlhf_lab.batches import Batch, answer_logits, pack, pad_token, positions
from rlhf_lab.config import PPO
from rlhf_lab.metrics import require_finite
from rlhf_lab.sampling import sample
from rlhf_lab.stages.policy import ppo_checkpoint

MAX_GRAD_NORM = 1.0  # of the policy, and apart from it of the critic
Report = Callable[[int, dict[str, float]], None]
Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], np.ndarray]  # numbers of prompts, answers -> (N,)


@dataclass(frozen=True)
class Problem:
    """Who is trained on what: models, prompts and a reward."""

    policy: PreTrainedModel
    ref: PreTrainedModel  # frozen, the policy's initial self
    critic: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[Sequence[int]]
    reward: Reward
    mean: float  # of the reward on answers of `ref`
    sd: float
    answer_tokens: int


def group_size(rollout: int, prompts: int) -> int:
    """The fewest answers per prompt with which `prompts` prompts fill a rollout without repetition."""
    return next(g for g in range(1, rollout + 1) if rollout % g == 0 and rollout // g <= prompts)


def arguments(config: PPO, out: Path, device: str) -> GRPOConfig:
    """TRL's arguments for this configuration."""
    return GRPOConfig(
        output_dir=str(out / "trainer"),
        seed=config.seed,
        use_cpu=device == "cpu",
        bf16=False,  # slower than float32 at these sizes, and TRL's default even there
        activation_checkpointing=False,
        disable_dropout=True,  # or the ratio is not 1 before the first step
        beta=0.0,  # TRL would load its own reference again from the path in the policy's config
        max_steps=config.steps,
        per_device_train_batch_size=config.rollout // config.minibatches,
        steps_per_generation=config.minibatches,
        num_iterations=config.passes,
        num_generations=config.rollout,  # TRL wants at least 2; what counts is set below
        max_completion_length=1,  # TRL's own sampling is not used
        learning_rate=config.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup,
        adam_beta2=config.beta2,
        max_grad_norm=MAX_GRAD_NORM,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def token_values(critic: Any, batch: Batch) -> torch.Tensor:
    """What the critic expects of each answer before each of its tokens is read, (B, T), in reward units."""
    trunk = getattr(critic, critic.base_model_prefix)
    width = batch.answer_mask.shape[1]
    hidden = trunk(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=positions(batch.mask), use_cache=False
    ).last_hidden_state
    return critic.score(hidden[:, -width - 1 : -1])[..., 0]


def token_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The log-probability of each answer token, (B, T), nats."""
    logits = answer_logits(model, batch)
    return logits.gather(-1, batch.answers[..., None])[..., 0] - logits.logsumexp(-1)


class PPOTrainer(GRPOTrainer):
    """PPO with its own critic, GAE and a KL penalty in the reward; `report(step, numbers)` once a rollout."""

    def __init__(self, problem: Problem, config: PPO, args: GRPOConfig, report: Report) -> None:
        problem.policy.critic = problem.critic
        super().__init__(
            model=problem.policy,
            reward_funcs=_unused,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": range(len(problem.prompts))}),
            processing_class=problem.tokenizer,
        )
        self.remove_callback(PrinterCallback)
        self.problem, self.config, self.report = problem, config, report
        self.num_generations = group_size(config.rollout, len(problem.prompts))
        self.generator = torch.Generator().manual_seed(config.seed)  # of rollouts, and of nothing else
        self.begun_at = 0  # the step at which this process took over from another one
        self.numbers: dict[str, list[float]] = {}  # since the last report
        problem.ref.requires_grad_(False)

    @property
    def critic(self) -> PreTrainedModel:
        """The value model."""
        return self.problem.critic

    def go(self, checkpoint: Path | None) -> None:
        """Train to the end, from the beginning or from where `checkpoint` was saved."""
        if checkpoint is None:
            self.train()
        else:
            self.begun_at = self._step = ppo_checkpoint.step(checkpoint)
            self.train(resume_from_checkpoint=str(checkpoint))

    def at_rollout_boundary(self) -> bool:
        """Whether no rollout is half used, so that a checkpoint taken now is all there is to know."""
        return self._step % (self.config.minibatches * self.config.passes) == 0

    def save_checkpoint(self, folder: Path) -> None:
        """Write to `folder` all that `go` needs."""
        ppo_checkpoint.save(self, self.generator, folder)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's order of prompts; it shuffles anew for every epoch, and earlier epochs are behind us."""
        sampler: Any = super()._get_train_sampler(dataset)
        steps_an_epoch = len(sampler) // self.config.rollout
        for _ in range(self.begun_at // steps_an_epoch):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        ppo_checkpoint.load_weights(self, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            ppo_checkpoint.load_optimizer(self, Path(checkpoint))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            ppo_checkpoint.load_random(self.generator, Path(checkpoint))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Adam with a learning rate for the policy and one for the critic."""
        if self.optimizer is not None:
            return self.optimizer
        config = self.config
        own = {id(p) for p in self.critic.parameters()}
        policy = [p for p in self.problem.policy.parameters() if id(p) not in own]
        groups = [{"params": policy}, {"params": list(self.critic.parameters()), "lr": config.critic_lr}]
        self.optimizer = torch.optim.Adam(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One minibatch; reports when the last pass over a rollout is done."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.at_rollout_boundary() or self._step == self.config.steps:
            self.report(self._step, {name: float(np.mean(xs)) for name, xs in self.numbers.items()})
            self.numbers = {}
        return loss

    @torch.no_grad()
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """A rollout: answers, their rewards, and advantages per token."""
        problem, config = self.problem, self.config
        rows = [row["prompt"] for row in inputs]
        prompts = [problem.prompts[row] for row in rows]
        sampled = sample(problem.policy, prompts, 1, problem.answer_tokens, self.generator, batch=len(rows))
        answers = sampled.tokens()
        raw = torch.from_numpy(problem.reward(rows, answers)).to(self.args.device)
        self._require_finite("reward", raw)

        batch = pack(prompts, answers, np.arange(len(rows)), pad_token(problem.policy), self.args.device)
        mask = batch.answer_mask
        logps = sampled.logps[:, : mask.shape[1]].to(self.args.device)
        log_ratio = (logps - token_logps(problem.ref, batch)) * mask
        self._require_finite("KL", log_ratio)
        values = self._values(batch) * mask
        rewards = pg.token_rewards((raw - problem.mean) / problem.sd, log_ratio, mask, config.kl_coef)
        advantages = pg.gae(rewards, values, mask, config.gamma, config.gae_lambda)
        observed = pg.gae(rewards, torch.zeros_like(values), mask, config.gamma, 1.0)  # return to go
        self._note(
            reward=raw.mean(),
            kl=log_ratio.sum(1).mean(),
            entropy=-pg.masked_mean(logps, mask),
            explained_variance=pg.explained_variance(values, observed, mask),
            tokens=mask.sum(1).float().mean(),
            finished=sampled.finished.float().mean(),
        )
        return {
            "ids": batch.ids,
            "mask": batch.mask,
            "answer_mask": mask,
            "logps": logps,
            "values": values,
            "returns": advantages + values,
            "advantages": pg.whiten(advantages, mask),
        }

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Policy loss plus value loss; they share no weights, so no coefficient weighs them."""
        config, mask = self.config, inputs["answer_mask"]
        batch = Batch(np.arange(len(mask)), inputs["ids"], inputs["mask"], mask)
        policy_loss, clipped = pg.clipped_policy_loss(
            token_logps(model, batch), inputs["logps"], inputs["advantages"], mask, config.clip
        )
        value_loss = pg.clipped_value_loss(
            self._values(batch), inputs["values"], inputs["returns"], mask, config.value_clip
        )
        self._require_finite("policy loss", policy_loss)
        self._require_finite("value loss", value_loss)
        self._note(policy_loss=policy_loss, value_loss=value_loss, clip_fraction=clipped)
        return policy_loss + value_loss

    def _values(self, batch: Batch) -> torch.Tensor:
        """The critic's values (B, T) in SDs of the reward, the unit of returns."""
        return (token_values(self.critic, batch) - self.problem.mean) / self.problem.sd

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        """Clip policy and critic apart: a surprised critic must not slow the policy down."""
        critic = list(self.critic.parameters())
        own = {id(p) for p in critic}
        policy = [p for p in model.parameters() if id(p) not in own]
        norms = [nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM) for parameters in (critic, policy)]
        self._require_finite("gradient norm", torch.stack(norms))
        return norms[1]

    def _note(self, **numbers: torch.Tensor) -> None:
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append(float(value.detach()))

    def _require_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value).all():
            found = value[~torch.isfinite(value)].flatten()[0].item() if value.dim() else value.item()
            require_finite(self.state.global_step, **{name: found})


def _unused(**kwargs: Any) -> list[float | None]:
    """Stands where TRL wants a reward function; rollouts bring their own rewards."""
    raise AssertionError("PPOTrainer computes rewards on token ids itself")


def detach_critic(policy: PreTrainedModel) -> PreTrainedModel:
    """The policy alone, as it is saved."""
    del policy.critic
    return policy
