"""Tables of compared pairs: the pairs of half of the questions, and a reward model's rewards of the held-out pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_lab.config.models import Half


def in_half(pairs: pa.Table, half: Half) -> pa.Table:
    """Return the held-out pairs and the pairs of every second training question (2204.05862, section 4.2)."""
    if half is Half.both:
        return pairs
    keep = heldout(pairs)
    train = ~keep
    _, rank = np.unique(pairs["question_id"].to_numpy()[train], return_inverse=True)
    keep[train] = rank % 2 == (half is Half.second)
    return pairs.filter(pa.array(keep))


def with_rewards(pairs: pa.Table, rewards: pa.Table) -> pa.Table:
    """Return `pairs` with the columns `chosen_reward` and `rejected_reward`, which are NaN for training pairs.

    `rewards` has the columns `chosen` and `rejected` and one row per held-out pair; ValueError if their number differs.
    """
    judged = heldout(pairs)
    if judged.sum() != rewards.num_rows:
        raise ValueError(f"{rewards.num_rows} rewards for {judged.sum()} held-out pairs")
    for side in rewards.column_names:
        column = np.full(len(pairs), np.nan, dtype=np.float32)
        column[judged] = rewards[side].to_numpy()
        pairs = pairs.append_column(f"{side}_reward", pa.array(column))
    return pairs


def heldout(pairs: pa.Table) -> NDArray[np.bool_]:
    """Return which pairs are of held-out questions, (P,)."""
    return np.array(pairs["split"].to_pylist()) == "heldout"
