"""Multipliers that hold the mean reward of several reward models at thresholds (2310.04373).

The KL-regularised policy keeps the mean reward v_k of every member k at or above a threshold theta_k (form `mu`), or
at it (form `xi`). With multipliers m_k = sigmoid(u_k) or m_k = tanh(u_k), the policy learns from the mixture of
section 5,

    (1 - mean_k m_k) r_0 + mean_k m_k r_k,        r_0 = -`kl_coef` x divergence from the reference,

and after every rollout with mean rewards v_k, u_k goes down the gradient of m_k(u_k) (v_k - theta_k) by SGD with
momentum:

    w_k <- momentum w_k + m'(u_k) (v_k - theta_k),        u_k <- u_k - lr w_k, kept within -limit .. limit.

A multiplier rises while its member is below the threshold and falls above it. The limit is not in the paper: u sums all
shortfalls on the way to the threshold, and without a limit the policy would have to exceed the threshold by as much
before the multiplier falls again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf_lab.config.combination import Constrained, Form

Floats = NDArray[np.float64]
State = list[list[float]]  # u and w of every member, (2, M): plain numbers, as checkpoints hold them


def initial(rule: Constrained) -> State:
    """Return the state before the first rollout: multipliers of 1/2 (`mu`) or 0 (`xi`)."""
    return [[0.0] * rule.members, [0.0] * rule.members]


def values(rule: Constrained, state: State) -> Floats:
    """Return the multipliers m_k (M,): sigmoid(u_k) in (0, 1) for `mu`, tanh(u_k) in (-1, 1) for `xi`."""
    u = np.array(state[0])
    return 1 / (1 + np.exp(-u)) if rule.form is Form.mu else np.tanh(u)


def mixed(multipliers: Floats, rewards: Floats) -> Floats:
    """Return mean_k m_k r_k (N,) for multipliers (M,) and rewards (M, N) of members on one scale."""
    return (multipliers[:, None] * rewards).mean(axis=0)


def moved(rule: Constrained, state: State, rewards: Floats) -> State:
    """Return the state after a rollout with mean rewards v_k (M,), in SDs of each member on SFT answers."""
    u, w = np.array(state)
    m = values(rule, state)
    slope = m * (1 - m) if rule.form is Form.mu else 1 - m**2  # dm/du
    w = rule.momentum * w + slope * (rewards - np.array(rule.thresholds))
    u = np.clip(u - rule.lr * w, -rule.limit, rule.limit)
    return [u.tolist(), w.tolist()]
