"""What policy and reference say about answers, and every divergence that can be read from it, one number an answer.

All models look at the same answers, and sums go over an answer's tokens, EOS included. `exact` and `chi2` are full sums
over the vocabulary at each position of the given prefixes (2504.10637): of answers sampled from the policy `exact` is
unbiased like k1, never negative, and of smaller variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from rlhf_lab.functional import divergence, intervals
from rlhf_lab.models.batches import Ids, answer_logits, packed, pad_token

BATCH = 128  # answers; four times as many leave the processor's cache and take 1.4 times as long


class LogRatios(NamedTuple):
    """What two models say about each answer, (N,) float32, nats."""

    logp: np.ndarray
    ref_logp: np.ndarray
    exact: np.ndarray  # sum over positions of KL(policy || ref)
    k2: np.ndarray  # sums over tokens
    k3: np.ndarray
    chi2: np.ndarray  # sum over positions of chi-squared(policy || ref); no unit

    @property
    def k1(self) -> np.ndarray:
        """The log-ratio of the whole answer."""
        return self.logp - self.ref_logp

    @classmethod
    def of_itself(cls, logp: np.ndarray) -> LogRatios:
        """Of a policy that is its own reference."""
        return cls(logp, logp, *(np.zeros_like(logp) for _ in range(4)))


@torch.inference_mode()
def log_ratios(
    policy: PreTrainedModel, ref: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = BATCH
) -> LogRatios:
    """Both models' log-probabilities of each answer, and the divergences."""
    sums = np.zeros((len(LogRatios._fields), len(answers)), dtype=np.float32)
    for part in packed(prompts, answers, batch, pad_token(policy), policy.device):
        logps, ref_logps = (answer_logits(model, part).log_softmax(-1) for model in (policy, ref))
        chosen = part.answers[..., None]
        logp, ref_logp = logps.gather(-1, chosen)[..., 0], ref_logps.gather(-1, chosen)[..., 0]
        per_token = torch.stack(
            [
                *(logp, ref_logp, divergence.exact_kl(logps, ref_logps)),
                *(divergence.k2(logp - ref_logp), divergence.k3(logp - ref_logp)),
                divergence.exact_chi2(logps, ref_logps),
            ]
        )
        sums[:, part.rows] = (per_token * part.answer_mask).sum(-1).cpu().numpy()
    return LogRatios(*sums)


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = BATCH) -> np.ndarray:
    """What a model says about each answer, summed over its tokens: (N,) float64, nats."""
    sums = np.empty(len(answers))
    for part in packed(prompts, answers, batch, pad_token(model), model.device):
        logps = answer_logits(model, part).log_softmax(-1).gather(-1, part.answers[..., None])[..., 0]
        sums[part.rows] = logps.where(part.answer_mask, 0.0).double().sum(-1).cpu().numpy()
    return sums


def check_k1(k1: np.ndarray) -> None:
    """Raise ArithmeticError when the mean of k1 is below zero by more than 5 standard errors: no KL is.

    Of fewer than 100 answers the standard error says little, as k1 is skewed.
    """
    if len(k1) < 100:
        return
    mean, se = intervals.mean_and_se(k1)
    if mean < -5 * se:
        raise ArithmeticError(
            f"mean k1 is {mean:.4g} nats, below -5 SE (SE {se:.4g}, {len(k1)} answers): the answers were "
            "not sampled from the policy whose log-probabilities these are"
        )
