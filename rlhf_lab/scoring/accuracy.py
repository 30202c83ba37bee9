"""How often a reward model agrees with the labels of pairs, beside baselines that do not read the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.models import Half
from rlhf_lab.models import loading, tokenization
from rlhf_lab.scoring.reward_models import reward
from rlhf_lab.store.artifacts import write_json
from rlhf_lab.store.comparisons import heldout, in_half
from rlhf_lab.store.records import HELDOUT, read_table, write_table

Pairs = dict[str, list[list[int]]]  # `chosen_ids` and `rejected_ids`: prompt and answer of each side
# Split (`train`, `heldout`) -> its pairs, as a table and as token ids.
Sides = Mapping[str, tuple[pa.Table, Pairs]]


def sides(task: Path, folder: Path, tokenizer: PreTrainedTokenizerBase, half: Half) -> Sides:
    """Load the comparisons in `folder`, with a half of the training questions, as ids of `tokenizer`."""
    labelled = folder / "pairs.parquet"  # a task of human comparisons has none
    pairs = in_half(read_table(labelled if labelled.exists() else folder / "comparisons.parquet"), half)
    is_heldout = heldout(pairs)
    splits = {"train": pairs.filter(pa.array(~is_heldout)), "heldout": pairs.filter(pa.array(is_heldout))}
    return {name: (table, _ids(table, task, folder, tokenizer)) for name, table in splits.items()}


def _ids(pairs: pa.Table, task: Path, folder: Path, tokenizer: PreTrainedTokenizerBase) -> Pairs:
    limits = json.loads((task / "task.json").read_text())
    prompts = tokenization.prompts_ids(tokenizer, pairs["messages"].to_pylist(), limits["prompt_tokens"])
    writer = tokenization.load_tokenizer(folder / "tokenizer")

    def side(name: str) -> list[list[int]]:
        """Return one side of the pairs as ids of `tokenizer`."""
        answers, written = pairs[name].to_pylist(), pairs[f"{name}_ids"].to_pylist()
        return tokenization.answers_read_by(tokenizer, writer, answers, written, limits["answer_tokens"])

    return {
        f"{name}_ids": [[*p, *a] for p, a in zip(prompts, side(name), strict=True)]
        for name in ("chosen", "rejected")
    }


def judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    compared: Sides,
    task: Path,
    out: Path,
    batch: int,
) -> None:
    """Write the rewards of all held-out pairs and their evaluation; raise FloatingPointError if one is not finite."""
    pairs, rows = compared["heldout"]
    chosen, rejected = rewards(model, rows, batch)
    if not np.isfinite([chosen, rejected]).all():
        raise FloatingPointError("the reward model gives a held-out answer a reward that is not finite")
    write_table(out / HELDOUT, {"chosen": chosen, "rejected": rejected})
    results = evaluation(chosen - rejected, pairs, rows, longer_wins(compared["train"][1]))
    if (task / "minimal_pairs.parquet").exists():
        results["minimal_pairs"] = minimal_pairs(model, tokenizer, task, batch)
    write_json(out / "evaluation.json", {"parameters": loading.non_embedding_parameters(model), **results})


def minimal_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Path, batch: int
) -> dict[str, dict[str, Any]]:
    """Return how often the better answer of the task's minimal pairs is preferred: family -> kind -> summary."""
    table = read_table(task / "minimal_pairs.parquet")
    limits = json.loads((task / "task.json").read_text())
    prompts = tokenization.prompts_ids(tokenizer, table["messages"].to_pylist(), limits["prompt_tokens"])
    better, worse = (
        tokenization.answers_ids(tokenizer, table[name].to_pylist(), limits["answer_tokens"])
        for name in ("better", "worse")
    )
    margin = reward(model, prompts, better, batch) - reward(model, prompts, worse, batch)
    family, kind = (np.array(table[name].to_pylist()) for name in ("family", "kind"))
    question = np.unique(table["question"].to_pylist(), return_inverse=True)[1]
    return {
        name: {
            each: summary(margin[rows], question[rows])
            for each in dict.fromkeys(kind)
            if (rows := (family == name) & (kind == each)).any()
        }
        for name in dict.fromkeys(family)
    }


def rewards(model: PreTrainedModel, rows: Pairs, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rewards of the chosen and of the rejected sides, (N,) float32 each."""
    no_prompts: Sequence[Sequence[int]] = [[]] * len(rows["chosen_ids"])  # the rows hold the prompts
    chosen = reward(model, no_prompts, rows["chosen_ids"], batch)
    rejected = reward(model, no_prompts, rows["rejected_ids"], batch)
    return chosen, rejected


def longer_wins(rows: Pairs) -> bool:
    """Return whether the longer answer is chosen at least as often as the shorter one."""
    return bool(np.sign(_longer(rows)).sum() >= 0)


def evaluation(margin: np.ndarray, pairs: pa.Table, rows: Pairs, longer: bool) -> dict[str, Any]:
    """Return accuracy and log-loss on all and on untied pairs, and the accuracy of the baselines on untied pairs.

    `longer` says whether the length baseline prefers the longer answer. Human comparisons have no position baseline:
    their file always lists the chosen answer first.
    """
    untied = ~pairs["tied"].to_numpy() if "tied" in pairs.column_names else np.ones(len(pairs), bool)
    questions = pairs["question_id"].to_numpy()
    baselines = {"length": _longer(rows) * (1 if longer else -1)}
    if "first" in pairs.column_names:
        baselines["position"] = np.where(pairs["first"].to_numpy(), 1.0, -1.0)
    return {
        "all": summary(margin, questions),
        "untied": summary(margin[untied], questions[untied]),
        "baselines": {
            name: summary(values[untied], questions[untied])["accuracy"] for name, values in baselines.items()
        },
    }


def summary(margin: np.ndarray, questions: np.ndarray) -> dict[str, Any]:
    """Return accuracy (a tie counts half) with its standard error, clustered by question, and log-loss in nats."""
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
    """Return the tokens of the chosen minus the tokens of the rejected side, (N,)."""
    lengths = [[len(ids) for ids in rows[f"{side}_ids"]] for side in ("chosen", "rejected")]
    return np.subtract(*np.array(lengths, dtype=float))
