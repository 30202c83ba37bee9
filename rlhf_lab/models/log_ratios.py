"""Log-probabilities of answers under a policy and its reference, and the divergences between the two per answer.

Sums go over the tokens of an answer, EOS included. `exact` and `chi2` sum over the whole vocabulary at each position of
the given answer (2504.10637). Averaged over answers of the policy, `exact` is unbiased for KL(policy || reference), as
k1 is; it is never negative and has a smaller variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from rlhf_lab.functional import divergence, intervals
from rlhf_lab.models.batches import Ids, answer_logits, packed, pad_token

# Answers at a time; four times as many take 1.4 times as long, as they leave the processor's cache.
BATCH = 128


class LogRatios(NamedTuple):
    """Sums over the tokens of each of N answers, (N,) float32, in nats except for `chi2`."""

    logp: np.ndarray  # log-probability under the policy
    ref_logp: np.ndarray  # log-probability under the reference
    exact: np.ndarray  # sum over positions of KL(policy || ref)
    k2: np.ndarray  # sum over tokens of k2
    k3: np.ndarray  # sum over tokens of k3
    chi2: np.ndarray  # sum over positions of chi-squared(policy || ref), without a unit

    @property
    def k1(self) -> np.ndarray:
        """The log-ratio of each answer, (N,) nats."""
        return self.logp - self.ref_logp

    @classmethod
    def of_itself(cls, logp: np.ndarray) -> LogRatios:
        """Return the log-ratios of a policy that is its own reference."""
        return cls(logp, logp, *(np.zeros_like(logp) for _ in range(4)))


@torch.inference_mode()
def log_ratios(
    policy: PreTrainedModel, ref: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = BATCH
) -> LogRatios:
    """Return the log-probabilities of each answer to its prompt under both models, and their divergences."""
    sums = np.zeros((len(LogRatios._fields), len(answers)), dtype=np.float32)
    for part in packed(prompts, answers, batch, pad_token(policy), policy.device):
        logps = answer_logits(policy, part).log_softmax(-1)  # (B, T, V)
        ref_logps = answer_logits(ref, part).log_softmax(-1)
        tokens = part.answers[..., None]
        logp, ref_logp = logps.gather(-1, tokens)[..., 0], ref_logps.gather(-1, tokens)[..., 0]
        per_token = {
            "logp": logp,
            "ref_logp": ref_logp,
            "exact": divergence.exact_kl(logps, ref_logps),
            "k2": divergence.k2(logp - ref_logp),
            "k3": divergence.k3(logp - ref_logp),
            "chi2": divergence.exact_chi2(logps, ref_logps),
        }
        rows = torch.stack([per_token[name] for name in LogRatios._fields])  # (fields, B, T)
        sums[:, part.rows] = (rows * part.answer_mask).sum(-1).cpu().numpy()
    return LogRatios(*sums)


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = BATCH) -> np.ndarray:
    """Return the log-probability of each answer under a model, the sum over its tokens, (N,) float64, nats."""
    sums = np.empty(len(answers))
    for part in packed(prompts, answers, batch, pad_token(model), model.device):
        logps = answer_logits(model, part).log_softmax(-1).gather(-1, part.answers[..., None])[..., 0]
        sums[part.rows] = logps.where(part.answer_mask, 0.0).double().sum(-1).cpu().numpy()
    return sums


def check_k1(k1: np.ndarray) -> None:
    """Raise ArithmeticError if the mean of k1 (N,) is below zero by more than 5 standard errors, as no KL is.

    Fewer than 100 answers are not checked, as k1 is too skewed for their standard error.
    """
    if len(k1) < 100:
        return
    mean, se = intervals.mean_and_se(k1)
    if mean < -5 * se:
        raise ArithmeticError(
            f"mean k1 is {mean:.4g} nats, below -5 SE (SE {se:.4g}, {len(k1)} answers): the answers were "
            "not sampled from the policy whose log-probabilities these are"
        )
