"""What every trainer on rollouts shares: sampling, the proxy's rewards, penalties, numbers and checkpoints.

`Rollouts` stands before one of TRL's trainers (GRPOTrainer, RLOOTrainer) in the bases of a class. TRL gives the loop,
the drawing of prompts, the buffer that cuts a rollout into minibatches and passes, and the losses of GRPO and RLOO.
The rollout itself is made here: on token ids, with the fast sampler, in float32, without dropout. The recorded KL is
against SFT, whatever reference the penalty pulls to.
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
from rlhf_lab.stages.policy.online.setup import Setup
from rlhf_lab.stages.policy.resumable import Resumable, step_of
from rlhf_lab.store.metrics import require_finite

if TYPE_CHECKING:
    from trl.trainer.grpo_trainer import GRPOTrainer as Trained
else:
    Trained = object

MAX_GRAD_NORM = 1.0
Report = Callable[[int, dict[str, float]], None]  # step, numbers by name


@dataclass(frozen=True)
class Rollout:
    """Answers of the policy and what is known of them, (B, T) unless another shape is given."""

    batch: Batch
    logps: torch.Tensor  # of the sampled tokens, under the policy that sampled them
    ref_logps: torch.Tensor  # of the sampled tokens, under the reference of the penalty
    score: torch.Tensor  # (B,) proxy in its SDs on SFT answers, minus the penalty for an answer without end
    penalty: torch.Tensor  # the penalty in the reward; zero if the penalty is in the loss or there is none

    @property
    def mask(self) -> torch.Tensor:
        """Whether a position holds a token of an answer."""
        return self.batch.answer_mask


def arguments(config: Online, out: Path, device: str) -> dict[str, Any]:
    """Return the arguments of TRL's trainers for this configuration."""
    return {
        "output_dir": str(out / "trainer"),
        "seed": config.seed,
        "use_cpu": device == "cpu",
        "bf16": False,  # on by default in TRL, and slower than float32 at these sizes
        "activation_checkpointing": False,
        "disable_dropout": True,  # with dropout the ratio would not be 1 before the first step
        "beta": 0.0,  # else TRL would load a reference of its own from the path in the policy's config
        "max_steps": config.steps,
        "per_device_train_batch_size": config.rollout // config.minibatches,
        "steps_per_generation": config.minibatches,
        "num_iterations": config.passes,
        "num_generations": config.rollout,  # TRL checks that it divides a batch; Rollouts sets the group size
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
    """Return the fewest answers per prompt with which `prompts` prompts fill a rollout without repetition."""
    return next(g for g in range(1, rollout + 1) if rollout % g == 0 and rollout // g <= prompts)


def token_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the log-probability of each answer token, (B, T), nats."""
    logits = answer_logits(model, batch)
    return logits.gather(-1, batch.answers[..., None])[..., 0] - logits.logsumexp(-1)


class Rollouts(Resumable, Trained):
    """A trainer on rollouts; `report(step, numbers)` is called once a rollout."""

    config: Online
    STATE = ("kl_coef", "multipliers")

    def __init__(self, setup: Setup, config: Online, args: Any, report: Report, group: int) -> None:
        if config.rollout // group > len(setup.prompts):
            raise ValueError(
                f"policy.rollout {config.rollout} in groups of {group} needs {config.rollout // group} prompts, the "
                f"task has {len(setup.prompts)} for training: choose a smaller rollout"
            )
        super().__init__(
            model=setup.policy,
            reward_funcs=_unused,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": range(len(setup.prompts))}),
            processing_class=setup.tokenizer,
        )
        self.remove_callback(PrinterCallback)
        self.setup, self.config, self.report = setup, config, report
        self.num_generations = group
        self.generators = {"rollouts": torch.Generator().manual_seed(config.seed)}
        self.resumed_at = 0  # the step of the checkpoint from which this process continued
        self.numbers: dict[str, list[float]] = {}  # since the last report
        self.kl_from_sft = self.kl_from_reference = 0.0  # nats, of the last rollout
        self.kl_coef = config.kl_coef if isinstance(config, Penalised) else 0.0
        constraints = setup.constraints
        self.multipliers: multipliers.State = multipliers.initial(constraints.rule) if constraints else []
        self.member_rewards = np.zeros(0)  # (M,) means of the last rollout
        setup.sft.requires_grad_(False)
        setup.reference.requires_grad_(False)

    # --- steps and checkpoints ----------------------------------------------------------------------------

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end, from the beginning or from a checkpoint."""
        if checkpoint is not None:
            self.resumed_at = self._step = step_of(checkpoint)
        super().train_from(checkpoint)

    def trained_models(self) -> dict[str, nn.Module]:
        """Return the policy, and the reference if it follows the policy."""
        reference = {"reference": self.setup.reference} if self.config.reference_ema else {}
        return super().trained_models() | reference

    def policy_to_save(self) -> PreTrainedModel:
        """Return the policy without what a trainer attached to it."""
        return self.setup.policy

    def between_rollouts(self) -> bool:
        """Return whether no rollout is half used, so that a checkpoint taken now is complete."""
        return self._step % (self.config.minibatches * self.config.passes) == 0

    def kl_budget_spent(self) -> bool:
        """Return whether the policy has reached `config.kl_budget` nats from SFT."""
        budget = self.config.kl_budget
        return budget is not None and self.between_rollouts() and self.kl_from_sft >= budget

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Train on one minibatch; report when the last pass over a rollout is done."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.between_rollouts():
            self._adapt_coefficients()
        if self.between_rollouts() or self._step == self.config.steps:
            means = {name: float(np.mean(values)) for name, values in self.numbers.items()}
            self.report(self._step, means)
            self.numbers = {}
        return loss

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """Return TRL's order of prompts, which is shuffled anew in every epoch, without the epochs that are done."""
        sampler: Any = super()._get_train_sampler(dataset)
        steps_an_epoch = len(sampler) // self.config.rollout
        for _ in range(self.resumed_at // steps_an_epoch):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
        return sampler

    # --- rollouts -----------------------------------------------------------------------------------------

    def loss_inputs(self, rollout: Rollout) -> dict[str, Any]:
        """Return what the method's loss needs beside the answers and their reference log-probabilities."""
        raise NotImplementedError

    @torch.no_grad()
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._step > 0 and self.config.reference_ema:  # the reference moves towards the policy
            policy = dict(self.setup.policy.named_parameters())
            for name, parameter in self.setup.reference.named_parameters():
                parameter.lerp_(policy[name], self.config.reference_ema)
        rows = [row["prompt"] for row in inputs]
        rollout = self._roll_out(rows)
        shared = rollout.batch.named("") | {"ref_logps": rollout.ref_logps} | self._reference_answers(rows)
        return shared | self.loss_inputs(rollout)

    def _roll_out(self, rows: Sequence[int]) -> Rollout:
        """Sample one answer to each of the prompts `rows`, score it and compute the penalty in the reward."""
        setup, device = self.setup, self.args.device
        prompts = [setup.prompts[row] for row in rows]
        generator = self.generators["rollouts"]
        sampled = sample(setup.policy, prompts, 1, setup.answer_tokens, generator, batch=len(rows))
        answers = sampled.tokens()
        rewards, objective = self._rewards(rows, answers)
        self._require_finite("reward", rewards)
        batch = pack(prompts, answers, np.arange(len(rows)), pad_token(setup.policy), device)
        mask, finished = batch.answer_mask, sampled.finished.to(device)
        logps = sampled.logps[:, : mask.shape[1]].to(device)
        sft_logps = token_logps(setup.sft, batch)
        moved = setup.reference is not setup.sft
        ref_logps = token_logps(setup.reference, batch) if moved else sft_logps
        kl = ((logps - sft_logps) * mask).sum(1)
        self._require_finite("KL", kl)
        self.kl_from_sft = float(kl.mean())
        score = objective / setup.sd - self.config.eos_penalty * (~finished)
        self.note(reward=rewards.mean(), kl=kl.mean(), entropy=-pg.masked_mean(logps, mask))
        self.kl_from_reference = float(((logps - ref_logps) * mask).sum(1).mean())
        self.note(tokens=mask.sum(1).float().mean(), finished=finished.float().mean())
        return Rollout(batch, logps, ref_logps, score, self._reward_penalty(logps - ref_logps, mask))

    def _rewards(
        self, rows: Sequence[int], answers: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the proxy of the answers, (B,), and what is optimised, (B,).

        That is the proxy minus its mean on SFT answers, or, under constraints, what multipliers make of the members.
        """
        setup, constraints = self.setup, self.setup.constraints
        if constraints is None:
            proxy = torch.from_numpy(setup.reward(rows, answers)).to(self.args.device)
            return proxy, proxy - setup.mean
        members = constraints.members(rows, answers)
        self.member_rewards = members.mean(axis=1)
        mixed = multipliers.mixed(self._multipliers(constraints.rule), members - setup.mean)
        both = torch.from_numpy(np.stack([members.mean(axis=0), mixed])).float().to(self.args.device)
        return both[0], both[1]

    def _reward_penalty(self, log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the penalty in the reward, (B, T), in SDs of the proxy."""
        divergence = self._divergence_in(Place.reward)
        if divergence is None:
            return torch.zeros_like(log_ratio)
        penalty = kl_penalties.PENALTIES[divergence].in_reward
        assert penalty is not None, "the schema refuses such a divergence in the reward"
        return self._coefficient() * penalty(log_ratio, mask)

    def _reference_answers(self, rows: Sequence[int]) -> dict[str, Any]:
        """Sample an answer of the reference to each prompt if the penalty is an expectation over such answers."""
        divergence = self._divergence_in(Place.loss)
        if divergence is None or not kl_penalties.PENALTIES[divergence].from_reference:
            return {}
        setup, prompts = self.setup, [self.setup.prompts[row] for row in rows]
        generator = self.generators["rollouts"]
        sampled = sample(setup.reference, prompts, 1, setup.answer_tokens, generator, batch=len(rows))
        batch = pack(
            prompts, sampled.tokens(), np.arange(len(rows)), pad_token(setup.policy), self.args.device
        )
        logps = sampled.logps[:, : batch.answer_mask.shape[1]].to(self.args.device)
        return batch.named("reference_") | {"reference_logps": logps}

    def penalty_in_loss(
        self, model: nn.Module, logps: torch.Tensor, old_logps: torch.Tensor, inputs: dict[str, Any]
    ) -> torch.Tensor | float:
        """Return what is added to a loss that is a mean over answers; 0 if no penalty is in the loss."""
        divergence = self._divergence_in(Place.loss)
        if divergence is None:
            return 0.0
        form = kl_penalties.PENALTIES[divergence]
        if form.from_reference:
            batch, ref_logps = Batch.of(inputs, "reference_"), inputs["reference_logps"]
            penalty = form.in_loss(token_logps(model, batch), ref_logps, ref_logps, batch.answer_mask)
        else:
            penalty = form.in_loss(logps, old_logps, inputs["ref_logps"], inputs["answer_mask"])
        self._require_finite("penalty", penalty)
        self.note(penalty=penalty)
        return self._coefficient() * penalty

    def _coefficient(self) -> float:
        """Return the penalty's coefficient, what multipliers leave of it (`rlhf_lab.functional.multipliers`)."""
        constraints = self.setup.constraints
        if constraints is None:
            return self.kl_coef
        return self.kl_coef * (1 - float(self._multipliers(constraints.rule).mean()))

    def _multipliers(self, rule: Constrained) -> np.ndarray:
        return multipliers.values(rule, self.multipliers)

    def _divergence_in(self, place: Place) -> Divergence | None:
        """Return the divergence that is penalised in this place, if any."""
        config = self.config
        if isinstance(config, Penalised) and self.kl_coef > 0 and config.kl_place is place:
            return config.divergence
        return None

    def _adapt_coefficients(self) -> None:
        """Adapt the penalty's coefficient to the KL target, and the multipliers to the members' thresholds."""
        if isinstance(self.config, Penalised) and self.config.kl_target is not None:
            self.note(kl_coef=torch.tensor(self.kl_coef))
            self.kl_coef = kl_penalties.adapted(self.kl_coef, self.kl_from_reference, self.config.kl_target)
        if constraints := self.setup.constraints:
            values = self._multipliers(constraints.rule)
            for number, (value, reward) in enumerate(zip(values, self.member_rewards, strict=True)):
                numbers = {f"multiplier.{number}": value, f"reward.{number}": reward}
                self.note(**{name: torch.tensor(number) for name, number in numbers.items()})
            self.multipliers = multipliers.moved(constraints.rule, self.multipliers, self.member_rewards)

    def note(self, **numbers: torch.Tensor) -> None:
        """Keep numbers for the next report, which gives their means since the last one."""
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append(float(value.detach()))

    def _require_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value).all():
            first = value[~torch.isfinite(value)].flatten()[0].item() if value.dim() else value.item()
            require_finite(self.state.global_step, **{name: first})


def _unused(**kwargs: Any) -> list[float | None]:
    """Take the place of TRL's reward function, which is never called: rollouts bring their own rewards."""
    raise AssertionError("rollouts are rewarded on token ids, not by TRL")
