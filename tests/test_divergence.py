from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch

from rlhf_lab import divergence, sampling

PROMPTS = [[1, 3, 6, 4], [1, 3, 7, 8, 9, 4], [1, 4]]


def test_two_tokens_by_hand() -> None:
    policy, ref = torch.tensor([0.75, 0.25]).log(), torch.tensor([0.5, 0.5]).log()
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(divergence.exact_kl(policy + 3, ref - 2)) == pytest.approx(
        by_hand
    )  # logits need not be normalised


@pytest.fixture(scope="module")
def measured() -> divergence.LogRatios:
    policy, ref = tiny.policy(1, sharpness=3.0), tiny.policy(2, sharpness=3.0)
    answers = sampling.sample(policy, PROMPTS, 1000, 6, torch.Generator().manual_seed(0)).tokens()
    asked = [prompt for prompt in PROMPTS for _ in range(1000)]
    return divergence.log_ratios(policy, ref, asked, answers, batch=256)


def test_exact_is_never_negative_and_agrees_with_k1_in_the_mean(measured: divergence.LogRatios) -> None:
    assert (measured.exact >= 0).all()
    assert measured.exact.mean() > 0.1
    se = measured.k1.std() / math.sqrt(len(measured.k1))
    assert abs(measured.k1.mean() - measured.exact.mean()) < 3 * se
    assert measured.exact.std() < measured.k1.std()


def test_answers_are_measured_as_if_alone(measured: divergence.LogRatios) -> None:
    policy, ref = tiny.policy(1, sharpness=3.0), tiny.policy(2, sharpness=3.0)
    answers = sampling.sample(policy, PROMPTS, 1000, 6, torch.Generator().manual_seed(0)).tokens()
    for row in (0, 1500, 2999):
        alone = divergence.log_ratios(policy, ref, [PROMPTS[row // 1000]], [answers[row]])
        ids = torch.tensor([PROMPTS[row // 1000] + answers[row]])
        logps = policy(input_ids=ids).logits[0].log_softmax(-1).detach()
        start = len(PROMPTS[row // 1000])
        total = sum(float(logps[start - 1 + i, token]) for i, token in enumerate(answers[row]))
        assert measured.logp[row] == pytest.approx(total, abs=1e-4)
        for one, many in zip(alone, measured, strict=True):
            assert one[0] == pytest.approx(many[row], abs=1e-4)


def test_a_policy_does_not_diverge_from_itself() -> None:
    policy = tiny.policy()
    ratios = divergence.log_ratios(policy, policy, PROMPTS, [[5, 2], [6, 7, 8], [2]])
    assert (ratios.exact == 0).all() and (ratios.k1 == 0).all()


def test_negative_k1_is_an_error_that_says_so() -> None:
    rng = np.random.default_rng(0)
    divergence.check_k1(rng.normal(0.0, 1.0, 100))
    divergence.check_k1(np.zeros(10))
    with pytest.raises(ArithmeticError, match="below -3 SE"):
        divergence.check_k1(rng.normal(-1.0, 1.0, 100))
