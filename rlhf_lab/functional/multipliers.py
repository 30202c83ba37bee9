"""Multipliers of constraints on what each of several reward models gives (2310.04373), as formulas.

The KL-regularised policy is to keep every member's mean reward v_k at or above a threshold theta_k (`mu`), or at it
(`xi`). With multipliers m_k = sigmoid(u_k), or tanh(u_k), the policy learns from the mixture (section 5)

    (1 - mean_k m_k) r_0 + mean_k m_k r_k,        r_0 = -`kl_coef` x divergence from the reference,

and after every rollout u_k goes down the gradient of m_k(u_k) (v_k - theta_k) by SGD with momentum, v_k the rollout's
mean:

    w_k <- momentum w_k + m'(u_k) (v_k - theta_k),        u_k <- u_k - lr w_k, kept within -limit .. limit.

A multiplier rises while its member is below the threshold and falls above it. The limit is not in the paper: u sums up
all that was missing on the way to the threshold, and without it as much must be overdone before it turns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf_lab.config.combination import Constrained, Form

Floats = NDArray[np.float64]
State = list[list[float]]  # u and w of every member, (2, M): plain numbers, as they are in checkpoints


def initial(rule: Constrained) -> State:
    """Multipliers before the first rollout: a half, or zero where they may be negative."""
    return [[0.0] * rule.members, [0.0] * rule.members]


def values(rule: Constrained, state: State) -> Floats:
    """(M,) multipliers: in (0, 1) for `mu`, in (-1, 1) for `xi`."""
    free = np.array(state[0])
    return 1 / (1 + np.exp(-free)) if rule.form is Form.mu else np.tanh(free)


def mixed(weights: Floats, rewards: Floats) -> Floats:
    """(N,) of the members' rewards (M, N) on one scale: mean_k m_k r_k."""
    return (weights[:, None] * rewards).mean(axis=0)


def moved(rule: Constrained, state: State, rewards: Floats) -> State:
    """The multipliers after a rollout whose mean rewards (M,) these are, SDs of the members on SFT answers."""
    free, momentum = np.array(state)
    momentum = rule.momentum * momentum + _slope(rule, state) * (rewards - np.array(rule.thresholds))
    free = np.clip(free - rule.lr * momentum, -rule.limit, rule.limit)
    return [free.tolist(), momentum.tolist()]


def _slope(rule: Constrained, state: State) -> Floats:
    """(M,): by how much a multiplier moves with u."""
    found = values(rule, state)
    return found * (1 - found) if rule.form is Form.mu else 1 - found**2
