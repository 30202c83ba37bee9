"""Penalties against hand-worked values, and against gradients of the divergences by enumeration."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from online import settings

from rlhf_lab.config.online import Divergence, Place
from rlhf_lab.functional import kl_penalties

REF = torch.tensor([0.5, 0.3, 0.2])
LOGITS = torch.tensor([0.4, -0.2, 0.1])
PENALTIES = kl_penalties.PENALTIES
IN_REWARD = [kind for kind, penalty in PENALTIES.items() if penalty.in_reward]
ON_POLICY = [kind for kind, penalty in PENALTIES.items() if not penalty.from_reference]
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_every_divergence_has_a_penalty_and_the_schema_knows_where_it_can_be() -> None:
    assert set(PENALTIES) == set(Divergence)
    for kind, penalty in PENALTIES.items():
        refused = (
            pytest.raises(ValueError, match="must be loss") if penalty.in_reward is None else nullcontext()
        )
        with refused:
            settings(divergence=kind, kl_place=Place.reward)


def test_reverse_kl_is_taken_at_every_token() -> None:
    log_ratio = torch.tensor([[0.5, -1.0, 9.0], [2.0, 9.0, 9.0]])
    taken = kl_penalties.reverse_kl_reward(log_ratio, MASK)
    assert taken.tolist() == [[0.5, -1.0, 0.0], [2.0, 0.0, 0.0]]


def test_chi_squared_is_taken_at_the_last_token_by_hand() -> None:
    log_ratio = torch.tensor([[math.log(2), math.log(2), 9.0], [math.log(0.5), 9.0, 9.0]])  # r = 4 and 1/2
    chi2 = ((4 + 1 / 4 - 2) + (1 / 2 + 2 - 2)) / 2
    chi = kl_penalties.sqrt_chi2_reward(log_ratio, MASK)
    assert chi == pytest.approx(torch.tensor([[0.0, 3 / chi2**0.5, 0.0], [-0.5 / chi2**0.5, 0.0, 0.0]]))


def test_an_answer_far_from_the_reference_does_not_overflow() -> None:
    log_ratio = torch.tensor([[300.0, 0.0, 0.0], [-300.0, 0.0, 0.0]])
    for kind in IN_REWARD:
        assert torch.isfinite(PENALTIES[kind].in_reward(log_ratio, MASK)).all()


def enumerated(kind: Divergence, logits: torch.Tensor) -> torch.Tensor:
    """The divergence itself, summed over the three answers there are."""
    policy = logits.softmax(0)
    if kind is Divergence.reverse_kl:
        return (policy * (policy / REF).log()).sum()
    if kind is Divergence.forward_kl:
        return (REF * (REF / policy).log()).sum()
    return (((policy - REF) ** 2) / REF).sum().sqrt()


def gradient(value: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, logits)[0]


def as_drawn(logits: torch.Tensor, weights: int = 100_000) -> torch.Tensor:
    """Answers of one token in the policy's proportions, so that a mean over them is an expectation."""
    counts = (logits.softmax(0).detach() * weights).round().long()
    return torch.repeat_interleave(torch.arange(3), counts)


@pytest.mark.parametrize("kind", IN_REWARD)
def test_what_is_taken_from_rewards_is_the_gradient_of_the_divergence(kind: Divergence) -> None:
    logits = LOGITS.clone().requires_grad_()
    answers = as_drawn(logits)
    logps = logits.log_softmax(0)[answers][:, None]
    mask = torch.ones_like(logps, dtype=torch.bool)
    taken = PENALTIES[kind].in_reward(logps.detach() - REF.log()[answers][:, None], mask)
    by_policy_gradient = gradient((taken.sum(1) * logps.sum(1)).mean(), logits)
    assert by_policy_gradient == pytest.approx(gradient(enumerated(kind, logits), logits), abs=2e-4)


@pytest.mark.parametrize("sampled_by", [LOGITS, torch.tensor([0.1, 0.1, 0.0])], ids=["itself", "earlier"])
@pytest.mark.parametrize("kind", ON_POLICY)
def test_the_loss_has_the_value_and_the_gradient_of_the_divergence(
    kind: Divergence, sampled_by: torch.Tensor
) -> None:
    """Also after the policy has moved: the ratio to the one that sampled makes up for its answers' proportions."""
    logits = LOGITS.clone().requires_grad_()
    answers = as_drawn(sampled_by)
    logps, old = (logits.log_softmax(0)[answers][:, None], sampled_by.log_softmax(0)[answers][:, None])
    mask = torch.ones_like(logps, dtype=torch.bool)
    loss, whole = (
        PENALTIES[kind].in_loss(logps, old, REF.log()[answers][:, None], mask),
        enumerated(kind, logits),
    )
    assert loss.item() == pytest.approx(whole.item(), abs=3e-4)
    assert gradient(loss, logits) == pytest.approx(gradient(whole, logits), abs=5e-4)


def test_the_forward_kl_from_the_references_answers() -> None:
    logits = LOGITS.clone().requires_grad_()
    answers = as_drawn(REF.log())
    logps = logits.log_softmax(0)[answers][:, None]
    mask = torch.ones_like(logps, dtype=torch.bool)
    ref_logps = REF.log()[answers][:, None]
    loss = kl_penalties.forward_kl_loss(logps, ref_logps, ref_logps, mask)
    whole = enumerated(Divergence.forward_kl, logits)
    assert loss.item() == pytest.approx(whole.item(), abs=3e-4)
    assert gradient(loss, logits) == pytest.approx(gradient(whole, logits), abs=5e-4)


def test_only_tokens_count() -> None:
    logps, zero = torch.tensor([[0.5, -1.0, 9.0], [2.0, 9.0, 9.0]]), torch.zeros(2, 3)
    cut = logps.masked_fill(~MASK, 0.0)
    for kind in ON_POLICY:
        formula = PENALTIES[kind].in_loss
        assert formula(logps, logps, zero, MASK) == pytest.approx(formula(cut, cut, zero, MASK))
    assert float(kl_penalties.forward_kl_loss(logps, zero, zero, MASK)) == pytest.approx(
        -(0.5 - 1.0 + 2.0) / 2
    )


def test_the_coefficient_follows_the_target_by_at_most_two_percent() -> None:
    assert kl_penalties.adapted(0.2, kl=6.6, target=6.0) == pytest.approx(0.2 * 1.01)
    assert kl_penalties.adapted(0.2, kl=60.0, target=6.0) == pytest.approx(0.2 * 1.02)
    assert kl_penalties.adapted(0.2, kl=0.0, target=6.0) == pytest.approx(0.2 * 0.98)
    assert kl_penalties.adapted(0.2, kl=6.0, target=6.0) == 0.2
