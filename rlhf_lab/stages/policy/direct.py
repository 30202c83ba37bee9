"""What the methods that learn from pairs share: pairs as token ids, and the way from SFT to an evaluated policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.policies import Direct
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization, trl_arguments
from rlhf_lab.models.log_ratios import log_probabilities
from rlhf_lab.scoring import accuracy
from rlhf_lab.scoring.heldout import schedule
from rlhf_lab.stages.policy.resumable import Resumable
from rlhf_lab.stages.policy.training_loop import course
from rlhf_lab.store.records import read_table

HELDOUT_PAIRS = 400  # untied ones; the SE of an accuracy is then 2.5 % or less


class Pairs(NamedTuple):
    """N prompts with two answers each, as ids of the policy's tokenizer, EOS included where an answer ended."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]
    question_id: np.ndarray  # (N,)


@dataclass(frozen=True)
class Problem:
    """Who is trained on what."""

    policy: PreTrainedModel
    ref: PreTrainedModel  # frozen, the policy's initial self
    tokenizer: PreTrainedTokenizerBase
    train: Pairs


Make = Callable[[Problem, Any, dict[str, Any]], Resumable]  # problem, config, TRL's arguments


def learn(config: Direct, inputs: Mapping[str, Path], out: Path, runtime: Runtime, make: Make) -> None:
    """Train what `make` gives; leaves `samples.parquet` (every checkpoint), `reference.parquet`, `tokenizer/`,
    `model/` and `metrics.jsonl`.
    """
    folder = inputs["sft"] / "model"
    tokenizer = tokenization.load_tokenizer(folder)
    policy, ref = (loading.load_language_model(folder, runtime.device) for _ in range(2))
    table = read_table(inputs["pairs"] / "pairs.parquet")
    problem = Problem(policy, ref, tokenizer, _tokens(_split(table, "train"), tokenizer, inputs))
    unseen = _split(table, "heldout").filter(~pc.field("tied"))[:HELDOUT_PAIRS]

    steps = -(-config.epochs * len(problem.train.prompts) // config.batch)
    later = set(schedule(steps, config.evaluations)) - {0}
    with course(config, steps, ref, tokenizer, inputs, out, runtime) as way:
        implicit = ImplicitReward(_tokens(unseen, tokenizer, inputs), ref)

        def evaluate(step: int) -> None:
            way.heldout.evaluate(policy, step)
            way.metrics.log(step, heldout_accuracy=implicit.accuracy(policy))

        def after(step: int) -> None:
            if step in later:
                evaluate(step)

        def told(step: int) -> None:
            if step < steps:
                way.pause(step, trainer.save_checkpoint)

        trainer = make(problem, config, _arguments(config, steps, out, runtime))
        trainer.add_callback(trl_arguments.AfterStep(after))
        trl_arguments.bare(trainer, way.metrics, ("loss", "grad_norm")).add_callback(
            trl_arguments.AfterLine(told)
        )
        trainer.go(way.begin(evaluate))
        way.end(policy, tokenizer)


def order(rows: int, epochs: int, seed: int) -> np.ndarray:
    """The rows (epochs x rows,) as they are learned: all of them in every epoch, shuffled anew."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)])


class ImplicitReward:
    """The reward that a policy stands for, beta x log-ratio to SFT (2305.18290, Eq. 5), on pairs it does not learn."""

    def __init__(self, pairs: Pairs, ref: PreTrainedModel) -> None:
        self._pairs = pairs
        self._ref_margin = self._margin(ref)

    def accuracy(self, policy: PreTrainedModel) -> float:
        """How often it prefers the chosen answer; ties, such as those of SFT itself, count half."""
        margin = self._margin(policy) - self._ref_margin
        return accuracy.summary(margin, self._pairs.question_id)["accuracy"]["mean"]

    def _margin(self, model: PreTrainedModel) -> np.ndarray:
        """Log-probability of the chosen minus that of the rejected answer, (N,), nats."""
        prompts, chosen, rejected, _ = self._pairs
        return log_probabilities(model, prompts, chosen) - log_probabilities(model, prompts, rejected)


def _split(pairs: pa.Table, split: str) -> pa.Table:
    return pairs.filter(pc.field("split") == split)


def _tokens(pairs: pa.Table, tokenizer: PreTrainedTokenizerBase, inputs: Mapping[str, Path]) -> Pairs:
    """The pairs as the policy reads them: the very ids that were sampled, if its tokenizer wrote them."""
    limits = json.loads((inputs["task"] / "task.json").read_text())
    writer = tokenization.load_tokenizer(inputs["pairs"] / "tokenizer")

    def side(name: str) -> list[list[int]]:
        answers: Sequence[str] = pairs[name].to_pylist()
        written = pairs[f"{name}_ids"].to_pylist()
        return tokenization.answers_read_by(tokenizer, writer, answers, written, limits["answer_tokens"])

    prompts = tokenization.prompts_ids(tokenizer, pairs["messages"].to_pylist(), limits["prompt_tokens"])
    return Pairs(prompts, side("chosen"), side("rejected"), pairs["question_id"].to_numpy())


def _arguments(config: Direct, steps: int, out: Path, runtime: Runtime) -> dict[str, Any]:
    """TRL's arguments; rows come in the order in which they are given."""
    return trl_arguments.arguments(out, config.seed, runtime) | {
        "max_steps": steps,
        "train_sampling_strategy": "sequential",
        "learning_rate": config.lr,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warmup,
        "adam_beta2": config.beta2,
        "beta": config.beta,
        "max_length": None,
        "disable_dropout": True,
    }
