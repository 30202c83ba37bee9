"""Divergences between a policy and its reference, per answer: nats, summed over its tokens, EOS included.

Every estimator looks at the same answers, sampled from the policy. `exact` is the full sum over the
vocabulary at each position of the sampled prefixes (2504.10637): unbiased like k1, never negative, and of
smaller variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from rlhf_lab.batches import Ids, answer_logits, packed, pad_token

BATCH = 512  # answers; larger batches leave the processor's cache and take twice as long


class LogRatios(NamedTuple):
    """What two models say about each answer, (N,) float32, nats."""

    logp: np.ndarray
    ref_logp: np.ndarray
    k1: np.ndarray  # logp - ref_logp
    exact: np.ndarray  # sum over positions of KL(policy || ref)


def exact_kl(logits: torch.Tensor, ref_logits: torch.Tensor) -> torch.Tensor:
    """KL(softmax(logits) || softmax(ref_logits)) in nats over the last dimension, >= 0."""
    logp, ref_logp = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    return _kl(logp, ref_logp)


def _kl(logp: torch.Tensor, ref_logp: torch.Tensor) -> torch.Tensor:
    return (logp.exp() * (logp - ref_logp)).sum(-1).clamp(min=0)  # rounding alone can make the sum negative


@torch.inference_mode()
def log_ratios(
    policy: PreTrainedModel, ref: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = BATCH
) -> LogRatios:
    """Both models' log-probabilities of each answer, with k1 and the exact KL."""
    sums = np.zeros((3, len(answers)), dtype=np.float32)
    for part in packed(prompts, answers, batch, pad_token(policy), policy.device):
        logp = answer_logits(policy, part).log_softmax(-1)
        ref_logp = answer_logits(ref, part).log_softmax(-1)
        chosen = part.answers[..., None]
        per_token = torch.stack(
            [logp.gather(-1, chosen)[..., 0], ref_logp.gather(-1, chosen)[..., 0], _kl(logp, ref_logp)]
        )
        sums[:, part.rows] = (per_token * part.answer_mask).sum(-1).cpu().numpy()
    return LogRatios(sums[0], sums[1], sums[0] - sums[1], sums[2])


def check_k1(k1: np.ndarray) -> None:
    """Raise ArithmeticError when the mean of k1 is below zero by more than 3 standard errors: no KL is."""
    if len(k1) < 2:
        return
    mean, se = float(k1.mean(dtype=np.float64)), float(k1.std(ddof=1, dtype=np.float64)) / len(k1) ** 0.5
    if mean < -3 * se:
        raise ArithmeticError(
            f"mean k1 is {mean:.4g} nats, below -3 SE (SE {se:.4g}, {len(k1)} answers): the answers were not "
            "sampled from the policy whose log-probabilities these are"
        )
