"""Expert iteration: rounds of best-of-n by the proxy on training prompts, each followed by fine-tuning on the best.

Fine-tuning is TRL's SFTTrainer on token ids as they were sampled, loss on answers only, at a constant rate; Adam
starts afresh in every round, and the policy goes on from where the round before left it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config import ExpertIteration, Runtime
from rlhf_lab.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    from trl.trainer.sft_trainer import SFTTrainer

    from rlhf_lab.scoring import Reward

VERSION = 1
Ids = Sequence[Sequence[int]]


def run(config: ExpertIteration, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves `samples.parquet` (SFT, and the policy after each round), `reference.parquet`, `tokenizer/`,
    `model/` and `metrics.jsonl`.
    """
    import json

    import numpy as np

    from rlhf_lab import evaluation, models, sampling, scoring, text, training
    from rlhf_lab.heldout import Heldout, generator

    folder, task = inputs["sft"] / "model", inputs["task"]
    tokenizer = text.load_tokenizer(folder)
    policy, ref = (models.load_language_model(folder, runtime.device) for _ in range(2))
    prompts = evaluation.load_prompts(task, tokenizer, "train").ids
    tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    reward = scoring.rewards_of_split(task, inputs["proxy"], tokenizer, "train", runtime)
    arguments = _arguments(config, out, runtime)
    rng, draws = np.random.default_rng(config.seed), generator(config.seed, 0)
    with Metrics(out, config.rounds * config.steps) as metrics:
        heldout = Heldout(config, task, tokenizer, ref, tokens, metrics)
        heldout.evaluate(policy, 0)
        for begun in range(0, config.rounds * config.steps, config.steps):
            rows = rng.permutation(len(prompts))[: config.asked]  # all there are if fewer
            asked = [prompts[row] for row in rows]
            answers = sampling.sample(policy, asked, config.best_of, tokens, draws).tokens()
            best, rewards = best_answers(rows, answers, reward)
            metrics.log(begun, reward=rewards.mean(), best_reward=rewards.max(1).mean())
            trainer = _trainer(policy, tokenizer, asked, best, arguments)
            trainer.add_callback(training.AfterStep(partial(_progress, metrics, begun)))
            loss = training.bare(trainer, metrics, names=()).train().training_loss
            metrics.log(begun + config.steps, loss=loss)
            heldout.evaluate(policy, begun + config.steps)
    heldout.save(out)
    tokenizer.save_pretrained(out / "tokenizer")
    models.save(policy, tokenizer, out / "model")


def best_answers(rows: np.ndarray, answers: Ids, reward: Reward) -> tuple[list[Sequence[int]], np.ndarray]:
    """Of the n answers to each of the prompts `rows` (P,) the one with the highest reward; all rewards (P, n)."""
    import numpy as np

    n = len(answers) // len(rows)
    rewards = reward(np.repeat(rows, n).tolist(), answers).reshape(len(rows), n)
    return [answers[i * n + best] for i, best in enumerate(rewards.argmax(1))], rewards


def _progress(metrics: Metrics, begun: int, step: int) -> None:
    """Tell how far the run is, `step` steps into the round that began at step `begun`."""
    metrics.progress(begun + step)


def _arguments(config: ExpertIteration, out: Path, runtime: Runtime) -> dict[str, Any]:
    """TRL's arguments for the fine-tuning of one round."""
    from rlhf_lab import training

    return training.arguments(out, config.seed, runtime) | {
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch,
        "learning_rate": config.lr,
        "lr_scheduler_type": "constant",
        "adam_beta2": config.beta2,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }


def _trainer(
    policy: Any, tokenizer: Any, prompts: Ids, answers: Ids, arguments: Mapping[str, Any]
) -> SFTTrainer:
    """The trainer of `policy` on one answer to each prompt."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
    from trl.trainer.utils import disable_dropout_in_model

    disable_dropout_in_model(policy)
    vars(policy).pop("forward", None)  # of the last round's trainer: this one would wrap its own around it
    rows = {
        "input_ids": [[*p, *a] for p, a in zip(prompts, answers, strict=True)],
        "labels": [[-100] * len(p) + list(a) for p, a in zip(prompts, answers, strict=True)],  # -100: no loss
    }
    return SFTTrainer(
        model=policy,
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
