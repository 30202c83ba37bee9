"""Tables of compared pairs: those of half of the questions, and those held out with a reward model's rewards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_lab.config.models import Half


def in_half(pairs: pa.Table, half: Half) -> pa.Table:
    """The held-out pairs and those of every second training question (2204.05862, section 4.2)."""
    if half is Half.both:
        return pairs
    kept = heldout(pairs)
    train = ~kept
    _, place = np.unique(pairs["question_id"].to_numpy()[train], return_inverse=True)
    kept[train] = place % 2 == (half is Half.second)
    return pairs.filter(pa.array(kept))


def with_rewards(pairs: pa.Table, rewards: pa.Table) -> pa.Table:
    """Pairs with `chosen_reward` and `rejected_reward`, NaN where none is held out; ValueError unless each of those has
    a row of `rewards`.
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
    """(P,): which pairs are of held-out questions."""
    return np.array(pairs["split"].to_pylist()) == "heldout"
