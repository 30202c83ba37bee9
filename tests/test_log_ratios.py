from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch

from rlhf_lab.functional import divergence
from rlhf_lab.models import sampling
from rlhf_lab.models.log_ratios import LogRatios, check_k1, log_ratios

PROMPTS = [[1, 3, 6, 4], [1, 3, 7, 8, 9, 4], [1, 4]]


@pytest.fixture(scope="module")
def measured() -> LogRatios:
    policy, ref = tiny.policy(1, sharpness=3.0), tiny.policy(2, sharpness=3.0)
    answers = sampling.sample(policy, PROMPTS, 1000, 6, torch.Generator().manual_seed(0)).tokens()
    asked = [prompt for prompt in PROMPTS for _ in range(1000)]
    return log_ratios(policy, ref, asked, answers, batch=256)


def test_exact_is_never_negative_and_agrees_with_k1_and_k3_in_the_mean(measured: LogRatios) -> None:
    assert (measured.exact >= 0).all() and (measured.k2 >= 0).all() and (measured.k3 >= 0).all()
    assert measured.exact.mean() > 0.1
    for other in (measured.k1, measured.k3):
        assert abs(other.mean() - measured.exact.mean()) < 3 * other.std() / math.sqrt(len(other))
        assert measured.exact.std() < other.std()
    assert (
        measured.chi2 >= np.expm1(measured.exact / 6) * 6 - 1e-4
    ).all()  # chi2 >= exp(KL) - 1 at each of 6 tokens


def test_answers_are_measured_as_if_alone(measured: LogRatios) -> None:
    policy, ref = tiny.policy(1, sharpness=3.0), tiny.policy(2, sharpness=3.0)
    answers = sampling.sample(policy, PROMPTS, 1000, 6, torch.Generator().manual_seed(0)).tokens()
    for row in (0, 1500, 2999):
        alone = log_ratios(policy, ref, [PROMPTS[row // 1000]], [answers[row]])
        ids = torch.tensor([PROMPTS[row // 1000] + answers[row]])
        start = len(PROMPTS[row // 1000])
        tokens = [
            [float(logps[start - 1 + i, token]) for i, token in enumerate(answers[row])]
            for logps in (model(input_ids=ids).logits[0].log_softmax(-1).detach() for model in (policy, ref))
        ]
        ratio = np.subtract(*tokens)
        assert measured.logp[row] == pytest.approx(sum(tokens[0]), abs=1e-4)
        assert measured.k2[row] == pytest.approx(divergence.k2(ratio).sum(), rel=1e-4, abs=1e-4)
        assert measured.k3[row] == pytest.approx(divergence.k3(ratio).sum(), rel=1e-4, abs=1e-4)
        for one, many in zip(alone, measured, strict=True):
            assert one[0] == pytest.approx(many[row], rel=1e-4, abs=1e-4)


def test_a_policy_does_not_diverge_from_itself() -> None:
    policy = tiny.policy()
    ratios = log_ratios(policy, policy, PROMPTS, [[5, 2], [6, 7, 8], [2]])
    assert all(
        (numbers == 0).all() for numbers in (ratios.exact, ratios.k1, ratios.k2, ratios.k3, ratios.chi2)
    )


def test_negative_k1_is_an_error_that_says_so() -> None:
    rng = np.random.default_rng(0)
    check_k1(rng.normal(0.0, 1.0, 100))
    check_k1(np.zeros(100))
    check_k1(rng.normal(-1.0, 1.0, 24))  # too few to say
    with pytest.raises(ArithmeticError, match="below -5 SE"):
        check_k1(rng.normal(-1.0, 1.0, 100))
