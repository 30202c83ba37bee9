"""Policies that are trained on rollouts of their own, scored by the proxy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.policies import Scheduled
from rlhf_lab.config.registry import option


class Divergence(Enum):
    """The divergence of the policy from its reference that is penalised."""

    reverse_kl = "reverse_kl"  # KL(policy || reference)
    forward_kl = "forward_kl"  # KL(reference || policy)
    sqrt_chi2 = "sqrt_chi2"  # square root of chi-squared(policy || reference) (2403.03185)


class Place(Enum):
    """Where the penalty is."""

    reward = "reward"  # subtracted from the reward
    loss = "loss"  # added to the loss


class PairLoss(Enum):
    """A loss of pairs of answers in log-ratios of policy and reference."""

    sigmoid = "sigmoid"  # the loss of DPO (2305.18290)
    ipo = "ipo"  # the loss of IPO (2310.12036)


@dataclass(slots=True)
class Online(Scheduled):
    """Training on rollouts; evaluations are even in optimiser steps, that is in sqrt(KL) where nothing
    penalises it.
    """

    steps: int  # Number of optimiser steps.
    rollout: int  # Number of answers in a rollout.
    minibatches: int  # Number of batches that a rollout is cut into for each pass.
    passes: int  # Number of passes over each rollout.
    eos_penalty: float  # Subtracted from the reward of an answer without end, in SDs of the proxy.
    # Step of the reference towards the policy after each rollout; with 0 it stays the SFT model. The recorded
    # KL is always against SFT.
    reference_ema: float
    # KL from SFT in nats that ends the run after the rollout that reaches it; `null` is no budget.
    kl_budget: float | None

    def __post_init__(self) -> None:
        """Check ranges."""
        Scheduled.__post_init__(self)
        checks.positive(self, "steps", "rollout", "minibatches", "passes")
        equal = self.rollout % self.minibatches == 0
        checks.check(self, "rollout", equal, "a multiple of minibatches", "batches are equal")
        checks.not_negative(self, "eos_penalty")
        learns = self.steps > 1 or self.warmup == 0
        checks.check(
            self, "steps", learns, "> 1 with a warm-up", "the first step of a warm-up has a rate of 0"
        )
        checks.share(self, "reference_ema")
        if self.kl_budget is not None:
            checks.positive(self, "kl_budget")


@dataclass(slots=True)
class Penalised(Online):
    """Policy gradients with a clipped ratio and a penalty on the divergence from the reference."""

    clip: float  # Clip of the probability ratio.
    divergence: Divergence  # Divergence that is penalised.
    # Weight of the penalty in SDs of the proxy per nat (per unit of `sqrt_chi2`); 0 is no penalty.
    kl_coef: float
    kl_place: Place  # Where the penalty is.
    # Divergence from the reference in nats that `kl_coef` is adapted to (1909.08593, 2.2); `null` keeps it
    # fixed.
    kl_target: float | None

    def __post_init__(self) -> None:
        """Check ranges."""
        Online.__post_init__(self)
        checks.positive(self, "clip")
        checks.not_negative(self, "kl_coef")
        seen = self.divergence is not Divergence.forward_kl or self.kl_place is Place.loss
        checks.check(
            self,
            "kl_place",
            seen,
            "loss with forward_kl",
            "the policy's own answers do not contain what it no longer says",
        )
        if self.kl_target is not None:
            checks.positive(self, "kl_target")
            checks.check(
                self, "kl_coef", self.kl_coef > 0, "> 0 where kl_target is set", "it is adapted by a factor"
            )


@option("policy", "ppo")
@dataclass(slots=True)
class PPO(Penalised):
    """Proximal policy optimisation with a critic of its own, started from the reward model (2203.02155,
    C.4).
    """

    critic_lr: float  # Learning rate of the critic.
    value_clip: float  # Clip of the change of the value, in SDs of the proxy.
    gamma: float  # Discount of generalised advantage estimation.
    gae_lambda: float  # Lambda of generalised advantage estimation.
    # Weight of the loss on documents of the base corpus that is mixed in; 0 is none (2203.02155, Eq. 2).
    ptx_coef: float
    ptx_batch: int  # Number of documents for each optimiser step.

    STAGE: ClassVar[str] = "ppo"

    def __post_init__(self) -> None:
        """Check ranges."""
        Penalised.__post_init__(self)
        checks.positive(self, "critic_lr", "value_clip", "ptx_batch")
        checks.share(self, "gamma", "gae_lambda")
        checks.not_negative(self, "ptx_coef")


@dataclass(slots=True)
class Grouped(Penalised):
    """Several answers to each prompt are compared with each other; there is no critic."""

    group: int  # Number of answers to each prompt of a rollout.

    def __post_init__(self) -> None:
        """Check ranges."""
        Penalised.__post_init__(self)
        checks.check(
            self, "group", self.group >= 2, ">= 2", "an answer is compared with others of its prompt"
        )
        whole = self.rollout % self.group == 0
        checks.check(self, "rollout", whole, "a multiple of group", "groups are whole")


@option("policy", "grpo")
@dataclass(slots=True)
class GRPO(Grouped):
    """Group-relative policy optimisation: rewards are standardised within a prompt, ratios are per token
    (2402.03300).
    """

    STAGE: ClassVar[str] = "grpo"


@option("policy", "rloo")
@dataclass(slots=True)
class RLOO(Grouped):
    """REINFORCE leave-one-out: the mean of the other answers is the baseline, ratios are per answer
    (2402.14740).
    """

    STAGE: ClassVar[str] = "rloo"


@option("policy", "online_dpo")
@dataclass(slots=True)
class OnlineDPO(Online):
    """DPO on pairs of the policy's own answers; the one with the higher proxy is chosen (2402.04792)."""

    beta: float  # Strength of the pull to the reference: nats of log-ratio that cost one nat of loss.
    loss: PairLoss  # Loss of a pair.

    STAGE: ClassVar[str] = "online_dpo"

    def __post_init__(self) -> None:
        """Check ranges."""
        Online.__post_init__(self)
        checks.positive(self, "beta")
        whole = self.rollout % (2 * self.minibatches) == 0
        checks.check(self, "rollout", whole, "a multiple of 2 x minibatches", "answers come in pairs")
