"""How often a reward model agrees with the labels of pairs, beside guesses that never look at what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from rlhf_lab.scoring import reward

Pairs = dict[str, list[list[int]]]  # `chosen_ids` and `rejected_ids`, prompt and answer of each side


def rewards(model: PreTrainedModel, rows: Pairs, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards of the chosen and of the rejected sides, (N,) float32 each."""
    nothing: Sequence[Sequence[int]] = [[]] * len(rows["chosen_ids"])  # the prompt is part of the rows
    chosen, rejected = (reward(model, nothing, rows[f"{side}_ids"], batch) for side in ("chosen", "rejected"))
    return chosen, rejected


def longer_wins(rows: Pairs) -> bool:
    """Whether the longer answer is chosen more often than not: the length baseline's rule, from training pairs."""
    return bool(np.sign(_longer(rows)).sum() >= 0)


def evaluation(margin: np.ndarray, pairs: pa.Table, rows: Pairs, longer: bool) -> dict[str, Any]:
    """Accuracy and log-loss on all and on untied pairs, and the baselines on untied pairs.

    `longer` says whether the length baseline prefers the longer answer. Human comparisons have no position baseline:
    their file always lists the chosen answer first.
    """
    untied = ~pairs["tied"].to_numpy() if "tied" in pairs.column_names else np.ones(len(pairs), bool)
    questions = pairs["question_id"].to_numpy()
    blind = {"length": _longer(rows) * (1 if longer else -1)}
    if "first" in pairs.column_names:
        blind["position"] = np.where(pairs["first"].to_numpy(), 1.0, -1.0)
    return {
        "all": summary(margin, questions),
        "untied": summary(margin[untied], questions[untied]),
        "baselines": {name: summary(v[untied], questions[untied])["accuracy"] for name, v in blind.items()},
    }


def summary(margin: np.ndarray, questions: np.ndarray) -> dict[str, Any]:
    """Accuracy (ties count half) with its question-clustered standard error, and log-loss in nats."""
    right = (margin > 0) + 0.5 * (margin == 0)
    _, cluster = np.unique(questions, return_inverse=True)
    clusters = int(cluster.max()) + 1
    residual = np.bincount(cluster, right - right.mean(), clusters)
    error = np.sqrt((residual**2).sum() * clusters / (clusters - 1)) / len(right) if clusters > 1 else None
    return {
        "n": len(margin),
        "questions": clusters,
        "accuracy": {"mean": float(right.mean()), "se": None if error is None else float(error)},
        "log_loss": float(np.logaddexp(0, -margin).mean()),
    }


def _longer(rows: Pairs) -> np.ndarray:
    """Tokens of the chosen minus tokens of the rejected side, (N,)."""
    lengths = [[len(ids) for ids in rows[f"{side}_ids"]] for side in ("chosen", "rejected")]
    return np.subtract(*np.array(lengths, dtype=float))
