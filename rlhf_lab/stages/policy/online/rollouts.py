"""What every trainer on rollouts shares: sampling, the proxy's rewards, penalties, numbers, checkpoints.

`Rollouts` stands before one of TRL's trainers (GRPOTrainer, RLOOTrainer) in a class's bases. From TRL come the
loop, the drawing of prompts, the buffer that cuts a rollout into minibatches and passes, and the losses of GRPO
and RLOO; from here the rollout, on token ids, with the fast sampler, in float32, without dropout. The KL that is
recorded is against SFT whatever the penalty pulls to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PrinterCallback

from rlhf_lab.config.combination import Constrained
from rlhf_lab.config.online import Divergence, Online, Penalised, Place
from rlhf_lab.functional import kl_penalties, multipliers
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models.batches import Batch, answer_logits, pack, pad_token
from rlhf_lab.models.sampling import sample
from rlhf_lab.stages.policy.online.problem import Problem
from rlhf_lab.stages.policy.resumable import Resumable, step_of
from rlhf_lab.store.metrics import require_finite

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer as Trained
else:
    Trained = object

MAX_GRAD_NORM = 1.0
Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Rollout:
    """Answers of the policy as it stood, (B, T) unless said otherwise."""

    batch: Batch
    logps: torch.Tensor  # of the sampled tokens under the policy that sampled them
    ref_logps: torch.Tensor  # under the reference of the penalty
    score: torch.Tensor  # (B,) proxy in its SDs on SFT answers, less the penalty for having no end
    taken: torch.Tensor  # penalty in the reward, zero where it is in the loss or nowhere

    @property
    def mask(self) -> torch.Tensor:
        """1 on tokens."""
        return self.batch.answer_mask


def arguments(config: Online, out: Path, device: str) -> dict[str, Any]:
    """What TRL's trainers are told for this configuration."""
    return {
        "output_dir": str(out / "trainer"),
        "seed": config.seed,
        "use_cpu": device == "cpu",
        "bf16": False,  # slower than float32 at these sizes, and TRL's default even there
        "activation_checkpointing": False,
        "disable_dropout": True,  # or the ratio is not 1 before the first step
        "beta": 0.0,  # TRL would load its own reference again from the path in the policy's config
        "max_steps": config.steps,
        "per_device_train_batch_size": config.rollout // config.minibatches,
        "steps_per_generation": config.minibatches,
        "num_iterations": config.passes,
        "num_generations": config.rollout,  # TRL wants it to divide a batch; what counts is set below
        "max_completion_length": 1,  # TRL's own sampling is not used
        "learning_rate": config.lr,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warmup,
        "adam_beta2": config.beta2,
        "max_grad_norm": MAX_GRAD_NORM,
        "optim": "adamw_torch_fused",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def group_size(rollout: int, prompts: int) -> int:
    """The fewest answers per prompt with which `prompts` prompts fill a rollout without repetition."""
    return next(g for g in range(1, rollout + 1) if rollout % g == 0 and rollout // g <= prompts)


def token_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The log-probability of each answer token, (B, T), nats."""
    logits = answer_logits(model, batch)
    return logits.gather(-1, batch.answers[..., None])[..., 0] - logits.logsumexp(-1)


class Rollouts(Resumable, Trained):
    """A trainer on rollouts; `report(step, numbers)` is called once a rollout."""

    config: Online
    NUMBERS = ("kl_coef", "multipliers")

    def __init__(self, problem: Problem, config: Online, args: Any, report: Report, group: int) -> None:
        if config.rollout // group > len(problem.prompts):
            raise ValueError(
                f"policy.rollout {config.rollout} in groups of {group} needs {config.rollout // group} prompts, the "
                f"task has {len(problem.prompts)} for training: choose a smaller rollout"
            )
        super().__init__(
            model=problem.policy,
            reward_funcs=_unused,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": range(len(problem.prompts))}),
            processing_class=problem.tokenizer,
        )
        self.remove_callback(PrinterCallback)
        self.problem, self.config, self.report = problem, config, report
        self.num_generations = group
        self.generators = {"rollouts": torch.Generator().manual_seed(config.seed)}  # and of nothing else
        self.begun_at = 0  # the step at which this process took over from another one
        self.numbers: dict[str, list[float]] = {}  # since the last report
        self.kl_from_sft = self.kl_from_reference = 0.0  # nats, of the last rollout
        self.kl_coef = config.kl_coef if isinstance(config, Penalised) else 0.0
        limits = problem.constraints
        self.multipliers: multipliers.State = multipliers.initial(limits.rule) if limits else []
        self.member_rewards = np.zeros(0)  # (M,) means of the last rollout
        problem.sft.requires_grad_(False)
        problem.reference.requires_grad_(False)

    # --- the course of a run ------------------------------------------------------------------------------

    def go(self, folder: Path | None) -> None:
        """Train to the end, from the beginning or from where the checkpoint in `folder` was saved."""
        if folder is not None:
            self.begun_at = self._step = step_of(folder)
        super().go(folder)

    def moving(self) -> dict[str, nn.Module]:
        """The policy, and a reference that follows it."""
        follows = {"reference": self.problem.reference} if self.config.reference_ema else {}
        return super().moving() | follows

    def detached(self) -> PreTrainedModel:
        """The policy alone, as it is saved."""
        return self.problem.policy

    def at_rollout_boundary(self) -> bool:
        """Whether no rollout is half used, so that a checkpoint taken now is all there is to know."""
        return self._step % (self.config.minibatches * self.config.passes) == 0

    def spent(self) -> bool:
        """Whether the budget of KL is used up."""
        budget = self.config.kl_budget
        return budget is not None and self.at_rollout_boundary() and self.kl_from_sft >= budget

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One minibatch; reports when the last pass over a rollout is done."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.at_rollout_boundary():
            self._adapt()
        if self.at_rollout_boundary() or self._step == self.config.steps:
            self.report(self._step, {name: float(np.mean(xs)) for name, xs in self.numbers.items()})
            self.numbers = {}
        return loss

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's order of prompts; it shuffles anew for every epoch, and earlier epochs are behind us."""
        sampler: Any = super()._get_train_sampler(dataset)
        steps_an_epoch = len(sampler) // self.config.rollout
        for _ in range(self.begun_at // steps_an_epoch):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    # --- rollouts -----------------------------------------------------------------------------------------

    def learned_from(self, rollout: Rollout) -> dict[str, Any]:
        """What the method's own loss is computed from beside the answers and what the reference says of them."""
        raise NotImplementedError

    @torch.no_grad()
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._step > 0:
            self._follow()
        rows = [row["prompt"] for row in inputs]
        rollout = self._roll_out(rows)
        shared = rollout.batch.named("") | {"ref_logps": rollout.ref_logps} | self._shown(rows)
        return shared | self.learned_from(rollout)

    def _roll_out(self, rows: Sequence[int]) -> Rollout:
        """One answer to each of the prompts numbered `rows`, scored and penalised."""
        problem, device = self.problem, self.args.device
        prompts = [problem.prompts[row] for row in rows]
        generator = self.generators["rollouts"]
        sampled = sample(problem.policy, prompts, 1, problem.answer_tokens, generator, batch=len(rows))
        answers = sampled.tokens()
        raw, weighed = self._rewarded(rows, answers)
        self._require_finite("reward", raw)
        batch = pack(prompts, answers, np.arange(len(rows)), pad_token(problem.policy), device)
        mask, finished = batch.answer_mask, sampled.finished.to(device)
        logps = sampled.logps[:, : mask.shape[1]].to(device)
        sft_logps = token_logps(problem.sft, batch)
        other = problem.reference is not problem.sft
        ref_logps = token_logps(problem.reference, batch) if other else sft_logps
        kl = ((logps - sft_logps) * mask).sum(1)
        self._require_finite("KL", kl)
        self.kl_from_sft = float(kl.mean())
        score = weighed / problem.sd - self.config.eos_penalty * (~finished)
        self.note(reward=raw.mean(), kl=kl.mean(), entropy=-pg.masked_mean(logps, mask))
        self.kl_from_reference = float(((logps - ref_logps) * mask).sum(1).mean())
        self.note(tokens=mask.sum(1).float().mean(), finished=finished.float().mean())
        return Rollout(batch, logps, ref_logps, score, self._taken(logps - ref_logps, mask))

    def _rewarded(
        self, rows: Sequence[int], answers: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The proxy (B,) of answers, and what is learned from, (B,): that over its mean on SFT answers, or what
        multipliers make of the members.
        """
        problem, limits = self.problem, self.problem.constraints
        if limits is None:
            raw = torch.from_numpy(problem.reward(rows, answers)).to(self.args.device)
            return raw, raw - problem.mean
        rewards = limits.members(rows, answers)
        self.member_rewards = rewards.mean(axis=1)
        mixed = multipliers.mixed(self._weights(limits.rule), rewards - problem.mean)
        raw, weighed = torch.from_numpy(np.stack([rewards.mean(axis=0), mixed])).float().to(self.args.device)
        return raw, weighed

    def _taken(self, log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The penalty in the reward (B, T), SDs of the proxy."""
        divergence = self._penalised(Place.reward)
        if divergence is None:
            return torch.zeros_like(log_ratio)
        penalty = kl_penalties.PENALTIES[divergence].in_reward
        assert penalty is not None, "the schema refuses such a divergence in the reward"
        return self._coefficient() * penalty(log_ratio, mask)

    def _shown(self, rows: Sequence[int]) -> dict[str, Any]:
        """An answer of the reference to each prompt, where the penalty is an expectation over these."""
        divergence = self._penalised(Place.loss)
        if divergence is None or not kl_penalties.PENALTIES[divergence].from_reference:
            return {}
        problem, prompts = self.problem, [self.problem.prompts[row] for row in rows]
        generator = self.generators["rollouts"]
        sampled = sample(problem.reference, prompts, 1, problem.answer_tokens, generator, batch=len(rows))
        batch = pack(
            prompts, sampled.tokens(), np.arange(len(rows)), pad_token(problem.policy), self.args.device
        )
        logps = sampled.logps[:, : batch.answer_mask.shape[1]].to(self.args.device)
        return batch.named("shown_") | {"shown_logps": logps}

    def penalty_in_loss(
        self, model: nn.Module, logps: torch.Tensor, old_logps: torch.Tensor, inputs: dict[str, Any]
    ) -> torch.Tensor | float:
        """What is added to a loss that is a mean over answers; 0 where the penalty is elsewhere."""
        divergence = self._penalised(Place.loss)
        if divergence is None:
            return 0.0
        form = kl_penalties.PENALTIES[divergence]
        if form.from_reference:
            shown, ref_logps = Batch.of(inputs, "shown_"), inputs["shown_logps"]
            penalty = form.in_loss(token_logps(model, shown), ref_logps, ref_logps, shown.answer_mask)
        else:
            penalty = form.in_loss(logps, old_logps, inputs["ref_logps"], inputs["answer_mask"])
        self._require_finite("penalty", penalty)
        self.note(penalty=penalty)
        return self._coefficient() * penalty

    def _coefficient(self) -> float:
        """Of the penalty: what multipliers leave to it (`rlhf_lab.functional.multipliers`)."""
        limits = self.problem.constraints
        return self.kl_coef * (1 - float(self._weights(limits.rule).mean())) if limits else self.kl_coef

    def _weights(self, rule: Constrained) -> np.ndarray:
        return multipliers.values(rule, self.multipliers)

    def _penalised(self, place: Place) -> Divergence | None:
        """What is penalised in this place."""
        config = self.config
        if isinstance(config, Penalised) and self.kl_coef > 0 and config.kl_place is place:
            return config.divergence
        return None

    def _follow(self) -> None:
        """Move the reference a step towards the policy."""
        if self.config.reference_ema:
            policy = dict(self.problem.policy.named_parameters())
            for name, mine in self.problem.reference.named_parameters():
                mine.lerp_(policy[name], self.config.reference_ema)

    def _adapt(self) -> None:
        """Move the coefficient towards the one that holds the policy at its target of KL from the reference, and
        multipliers towards those that hold members at their thresholds.
        """
        if isinstance(self.config, Penalised) and self.config.kl_target is not None:
            self.note(kl_coef=torch.tensor(self.kl_coef))
            self.kl_coef = kl_penalties.adapted(self.kl_coef, self.kl_from_reference, self.config.kl_target)
        if limits := self.problem.constraints:
            weights = self._weights(limits.rule)
            for number, (weight, reward) in enumerate(zip(weights, self.member_rewards, strict=True)):
                numbers = {f"multiplier.{number}": weight, f"reward.{number}": reward}
                self.note(**{name: torch.tensor(value) for name, value in numbers.items()})
            self.multipliers = multipliers.moved(limits.rule, self.multipliers, self.member_rewards)

    def note(self, **numbers: torch.Tensor) -> None:
        """Keep numbers for the next report, which gives their means."""
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append(float(value.detach()))

    def _require_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value).all():
            found = value[~torch.isfinite(value)].flatten()[0].item() if value.dim() else value.item()
            require_finite(self.state.global_step, **{name: found})


def _unused(**kwargs: Any) -> list[float | None]:
    """Stands where TRL wants a reward function; rollouts bring their own rewards."""
    raise AssertionError("rollouts are rewarded on token ids, not by TRL")
