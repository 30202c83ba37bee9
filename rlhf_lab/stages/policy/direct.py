"""The training of a policy on preference pairs, whatever the method: pairs as token ids, training, and evaluation."""

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
from rlhf_lab.scoring.heldout_evaluation import schedule
from rlhf_lab.stages.policy.resumable import Resumable
from rlhf_lab.stages.policy.training_session import training_session
from rlhf_lab.store.records import read_table

HELDOUT_PAIRS = 400  # without ties; the SE of an accuracy is then 2.5 % or less


class Pairs(NamedTuple):
    """N prompts with two answers each, as ids of the policy's tokenizer, EOS included where an answer ended."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]
    question_id: np.ndarray  # (N,)


@dataclass(frozen=True)
class Setup:
    """What a trainer on pairs is given beside its configuration."""

    policy: PreTrainedModel
    ref: PreTrainedModel  # frozen: the initial policy
    tokenizer: PreTrainedTokenizerBase
    train: Pairs


MakeTrainer = Callable[[Setup, Any, dict[str, Any]], Resumable]  # setup, config, TRL's arguments


def train(
    config: Direct, inputs: Mapping[str, Path], out: Path, runtime: Runtime, make_trainer: MakeTrainer
) -> None:
    """Train with the trainer that `make_trainer` returns; leave samples, reference, tokenizer, model and metrics."""
    folder = inputs["sft"] / "model"
    tokenizer = tokenization.load_tokenizer(folder)
    policy, ref = (loading.load_language_model(folder, runtime.device) for _ in range(2))
    table = read_table(inputs["pairs"] / "pairs.parquet")
    in_training = table.filter(pc.field("split") == "train")
    heldout = table.filter((pc.field("split") == "heldout") & ~pc.field("tied"))[:HELDOUT_PAIRS]
    setup = Setup(policy, ref, tokenizer, _tokens(in_training, tokenizer, inputs))

    steps = config.optimiser_steps(len(setup.train.prompts))
    scheduled = set(schedule(steps, config.evaluations)) - {0}
    with training_session(config, steps, ref, tokenizer, inputs, out, runtime) as session:
        implicit = ImplicitReward(_tokens(heldout, tokenizer, inputs), ref)

        def evaluate(step: int) -> None:
            """Evaluate the policy after `step` on held-out prompts and on held-out pairs."""
            session.evaluation.evaluate(policy, step)
            session.metrics.log(step, heldout_accuracy=implicit.accuracy(policy))

        def after_step(step: int) -> None:
            """Evaluate where an evaluation is scheduled."""
            if step in scheduled:
                evaluate(step)

        def after_line(step: int) -> None:
            """Pause where no loss is counted that is not recorded yet."""
            if step < steps:
                session.pause(step, trainer.save_checkpoint)

        trainer = make_trainer(setup, config, _arguments(config, steps, out, runtime))
        trainer.add_callback(trl_arguments.AfterStep(after_step))
        trl_arguments.recording(trainer, session.metrics, ("loss", "grad_norm"))
        trainer.add_callback(trl_arguments.AfterLine(after_line))
        trainer.train_from(session.begin(evaluate))
        session.finish(policy, tokenizer)


def order(rows: int, epochs: int, seed: int) -> np.ndarray:
    """Return the order (epochs x rows,) in which rows are learned: all of them in every epoch, shuffled anew."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(rows) for _ in range(epochs)])


class ImplicitReward:
    """The implicit reward of a policy, beta x its log-ratio to SFT (2305.18290, Eq. 5), on held-out pairs."""

    def __init__(self, pairs: Pairs, ref: PreTrainedModel) -> None:
        self._pairs = pairs
        self._ref_margin = self._margin(ref)

    def accuracy(self, policy: PreTrainedModel) -> float:
        """Return how often the chosen answer has the higher reward; a tie, as for SFT itself, counts half."""
        margin = self._margin(policy) - self._ref_margin
        return accuracy.summary(margin, self._pairs.question_id)["accuracy"]["mean"]

    def _margin(self, model: PreTrainedModel) -> np.ndarray:
        """Return the log-probability of the chosen minus that of the rejected answer, (N,), nats."""
        prompts, chosen, rejected, _ = self._pairs
        return log_probabilities(model, prompts, chosen) - log_probabilities(model, prompts, rejected)


def _tokens(pairs: pa.Table, tokenizer: PreTrainedTokenizerBase, inputs: Mapping[str, Path]) -> Pairs:
    """Return the pairs as ids of the policy's tokenizer: the sampled ids if that tokenizer wrote them."""
    limits = json.loads((inputs["task"] / "task.json").read_text())
    writer = tokenization.load_tokenizer(inputs["pairs"] / "tokenizer")

    def side(name: str) -> list[list[int]]:
        """Return one side of the pairs as ids of `tokenizer`."""
        answers: Sequence[str] = pairs[name].to_pylist()
        written = pairs[f"{name}_ids"].to_pylist()
        return tokenization.answers_read_by(tokenizer, writer, answers, written, limits["answer_tokens"])

    prompts = tokenization.prompts_ids(tokenizer, pairs["messages"].to_pylist(), limits["prompt_tokens"])
    return Pairs(prompts, side("chosen"), side("rejected"), pairs["question_id"].to_numpy())


def _arguments(config: Direct, steps: int, out: Path, runtime: Runtime) -> dict[str, Any]:
    """Return TRL's arguments; rows are learned in the order in which they are given."""
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
