"""Estimators and formulas of divergence, against values worked by hand and a table computed by Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rlhf_lab.functional import divergence as dv

P, Q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
REVERSE = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
FORWARD = 0.5 * math.log(1 / 1.5) + 0.5 * math.log(2)
CHI2 = 0.75**2 / 0.5 + 0.25**2 / 0.5 - 1


def test_two_tokens_by_hand() -> None:
    assert dv.exact_kl(np.log(P), np.log(Q)) == pytest.approx(REVERSE)
    assert dv.exact_chi2(np.log(P), np.log(Q)) == pytest.approx(CHI2)
    tensors = torch.tensor(P).log(), torch.tensor(Q).log()
    assert float(dv.exact_kl(*tensors)) == pytest.approx(REVERSE)
    assert float(dv.exact_chi2(*tensors)) == pytest.approx(CHI2)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [(dv.k1, REVERSE), (dv.k3, REVERSE), (dv.forward, FORWARD), (dv.chi2, CHI2)],
    ids=["k1", "k3", "forward", "chi2"],
)
def test_the_expectation_over_the_policy_is_the_divergence(estimator, expected) -> None:
    """The sum over both tokens with the policy's chances: no sampling noise."""
    log_ratio = np.log(P / Q)
    assert (P * estimator(log_ratio)).sum() == pytest.approx(expected)
    assert float((torch.tensor(P) * estimator(torch.tensor(log_ratio))).sum()) == pytest.approx(expected)


def test_all_but_k1_are_never_negative_and_zero_at_equality() -> None:
    log_ratio = np.linspace(-3, 3, 61)
    for estimator in (dv.k2, dv.k3, dv.forward, dv.chi2):
        assert (estimator(log_ratio) >= 0).all() and estimator(np.zeros(1)) == 0


# papers.md 1.4: two unit Gaussians that are sqrt(2 KL) apart
TABLE = {
    (0.005, dv.k1): (0.0, 20.0),
    (0.005, dv.k2): (0.002, 1.42),
    (0.005, dv.k3): (0.0, 1.42),
    (0.5, dv.k1): (0.0, 2.0),
    (0.5, dv.k2): (0.249, 1.73),
    (0.5, dv.k3): (0.0, 1.70),
}


@pytest.mark.parametrize("kl", [0.005, 0.5])
@pytest.mark.parametrize("estimator", [dv.k1, dv.k2, dv.k3], ids=["k1", "k2", "k3"])
def test_bias_and_spread_over_the_truth(kl: float, estimator) -> None:
    bias, spread = TABLE[kl, estimator]
    apart = math.sqrt(2 * kl)
    x = np.random.default_rng(0).normal(apart, 1, 4_000_000)  # of the policy; the reference is N(0, 1)
    log_ratio = apart * x - apart**2 / 2
    values = estimator(log_ratio)
    assert (values.mean() - kl) / kl == pytest.approx(
        bias, abs=0.011 if kl == 0.005 and estimator is dv.k1 else 5e-3
    )
    assert values.std() / kl == pytest.approx(spread, rel=0.02)


def test_an_answer_summed_over_tokens_is_not_the_answer_as_one() -> None:
    """k2 of a sum is not the sum of k2: which of the two an axis shows must be said (papers.md 1.4)."""
    tokens = np.full(20, 0.5)
    assert dv.k2(tokens).sum() == pytest.approx(2.5) and dv.k2(tokens.sum()) == pytest.approx(50)


# --- best-of-n -------------------------------------------------------------------------------------------------


def test_the_bound_is_that_of_the_papers() -> None:
    """Table 10 of 2009.01325 prints 1.2, 3.2, 3.9, 4.5, 5.2."""
    assert dv.best_of_n_bound([8, 64, 128, 256, 512]) == pytest.approx([1.2, 3.2, 3.9, 4.5, 5.2], abs=0.06)
    assert dv.best_of_n_bound([2, 63, 12_500, 60_000]) == pytest.approx(
        [0.193, 3.159, 8.434, 10.002], abs=1e-3
    )
