"""The arithmetic of policy gradients on tensors (B, T): B answers of up to T tokens, `mask` 1 on tokens."""

from __future__ import annotations

import torch

from rlhf_lab.config.online import PairLoss


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of `x` over the tokens."""
    return (x * mask).sum() / mask.sum()


def token_rewards(score: torch.Tensor, taken: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`score` (B,) at the last token, less the penalty `taken` (B, T) at every one (2203.02155, Eq. 2)."""
    last = mask.sum(1, keepdim=True) - 1
    return (-taken * mask).scatter_add(1, last, score[:, None])


def group_advantages(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """(B,) rewards standardised among the `group` answers to a prompt, which stand together (2402.03300, 4.1.2)."""
    table = rewards.view(-1, group)
    return ((table - table.mean(1, keepdim=True)) / (table.std(1, keepdim=True) + 1e-4)).flatten()


def leave_one_out_advantages(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """(B,) rewards less the mean reward of the other answers to the prompt (2402.14740, Eq. 9)."""
    table = rewards.view(-1, group)
    others = (table.sum(1, keepdim=True) - table) / (group - 1)
    return (table - others).flatten()


def pair_loss(difference: torch.Tensor, beta: float, kind: PairLoss) -> torch.Tensor:
    """The mean loss of pairs from their differences (B,) of log-ratios, chosen less rejected, nats.

    Sigmoid is Eq. 7 of 2305.18290, ipo Eq. 17 of 2310.12036.
    """
    if kind is PairLoss.sigmoid:
        return -torch.nn.functional.logsigmoid(beta * difference).mean()
    return ((difference - 1 / (2 * beta)) ** 2).mean()


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> torch.Tensor:
    """Generalised advantage estimates (1506.02438, Eq. 16); nothing follows an answer's last token."""
    advantages = torch.zeros_like(rewards)
    value_after = advantage_after = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * value_after - values[:, t]
        advantage_after = (delta + gamma * lam * advantage_after) * mask[:, t]
        value_after = values[:, t] * mask[:, t]
        advantages[:, t] = advantage_after
    return advantages


def whiten(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`x` with mean 0 and SD 1 over the tokens."""
    centred = x - masked_mean(x, mask)
    return centred * torch.rsqrt(masked_mean(centred**2, mask) + 1e-8) * mask


def clipped_policy_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The clipped surrogate loss (1707.06347, Eq. 7), and the share of tokens outside the clip."""
    ratio = torch.exp(logps - old_logps)
    bounded = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantages, bounded * advantages)
    return masked_mean(loss, mask), masked_mean((ratio.detach() - 1).abs().gt(clip).float(), mask)


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor, clip: float
) -> torch.Tensor:
    """Half the squared error, or that of the value held within `clip` of the old one if that is larger."""
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (held - returns) ** 2), mask)


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """1 - Var(returns - values) / Var(returns) over the tokens: 1 for a perfect critic, 0 for a constant one.

    Returns that hardly vary (SD below 0.03 of their unit) leave nothing to explain; the ratio is then
    held down.
    """
    error = returns - values
    unexplained = masked_mean((error - masked_mean(error, mask)) ** 2, mask)
    return 1 - unexplained / masked_mean((returns - masked_mean(returns, mask)) ** 2, mask).clamp(min=1e-3)
