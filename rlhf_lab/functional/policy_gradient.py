"""Rewards, advantages and losses of policy gradients.

Tensors are (B, T): B answers of up to T tokens, with `mask` 1 on tokens and 0 on padding after them.
"""

from __future__ import annotations

import torch

from rlhf_lab.config.online import PairLoss


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of `x` (B, T) over the tokens, ()."""
    return (x * mask).sum() / mask.sum()


def token_rewards(score: torch.Tensor, penalty: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the rewards (B, T): `score` (B,) at the last token minus `penalty` (B, T) at each (2203.02155, Eq. 2)."""
    last = mask.sum(1, keepdim=True) - 1
    return (-penalty * mask).scatter_add(1, last, score[:, None])


def group_advantages(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Return the rewards (B,) standardised among the answers to the same prompt (GRPO, 2402.03300, section 4.1.2).

    The `group` answers to a prompt follow each other.
    """
    per_prompt = rewards.view(-1, group)
    centred = per_prompt - per_prompt.mean(1, keepdim=True)
    return (centred / (per_prompt.std(1, keepdim=True) + 1e-4)).flatten()


def leave_one_out_advantages(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Return the rewards (B,) minus the mean reward of the other answers to the prompt (RLOO, 2402.14740, Eq. 9).

    The `group` answers to a prompt follow each other.
    """
    per_prompt = rewards.view(-1, group)
    others = (per_prompt.sum(1, keepdim=True) - per_prompt) / (group - 1)
    return (per_prompt - others).flatten()


def pair_loss(difference: torch.Tensor, beta: float, kind: PairLoss) -> torch.Tensor:
    """Return the mean loss () of pairs of answers.

    `difference` (B,) is the log-ratio to the reference of the chosen answer minus that of the rejected one, in nats.
    `sigmoid` is the loss of DPO (2305.18290, Eq. 7), `ipo` that of IPO (2310.12036, Eq. 17).
    """
    if kind is PairLoss.sigmoid:
        return -torch.nn.functional.logsigmoid(beta * difference).mean()
    return ((difference - 1 / (2 * beta)) ** 2).mean()


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """Return generalised advantage estimates (B, T) (1506.02438, Eq. 16): A_t = delta_t + gamma lam A_(t+1) with
    delta_t = r_t + gamma V_(t+1) - V_t, where V and A are 0 after the last token of an answer.
    """
    advantages = torch.zeros_like(rewards)
    value_after = advantage_after = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * value_after - values[:, t]
        advantage_after = (delta + gamma * lam * advantage_after) * mask[:, t]
        value_after = values[:, t] * mask[:, t]
        advantages[:, t] = advantage_after
    return advantages


def whiten(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return `x` (B, T) with mean 0 and SD 1 over the tokens."""
    centred = x - masked_mean(x, mask)
    return centred * torch.rsqrt(masked_mean(centred**2, mask) + 1e-8) * mask


def clipped_policy_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clipped surrogate loss () of PPO (1707.06347, Eq. 7), and the share () of tokens that are clipped."""
    ratio = torch.exp(logps - old_logps)
    bounded = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantages, bounded * advantages)
    return masked_mean(loss, mask), masked_mean((ratio.detach() - 1).abs().gt(clip).float(), mask)


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """Return half the mean squared error of the values (), clipped as in the implementation of PPO.

    The error of a token is the larger of those of its value and of its value held within `clip` of the old one.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clipped - returns) ** 2), mask)


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return 1 - Var(returns - values) / Var(returns) over the tokens, (): 1 for perfect values, 0 for constant ones.

    Var(returns) counts as at least 1e-3, as returns that hardly vary leave nothing to explain.
    """
    error = returns - values
    unexplained = masked_mean((error - masked_mean(error, mask)) ** 2, mask)
    return 1 - unexplained / masked_mean((returns - masked_mean(returns, mask)) ** 2, mask).clamp(min=1e-3)
