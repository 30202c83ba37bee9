"""The stage `expert_iteration`: rounds of best-of-n by the proxy on training prompts, and of fine-tuning on the best.

The inputs are the task, the SFT model and the proxy. The stage leaves `samples.parquet` (answers to held-out prompts
of SFT and of the policy after each round), `reference.parquet`, `tokenizer/`, `model/` and `metrics.jsonl`.
Fine-tuning is TRL's SFTTrainer on token ids as they were sampled, with the loss on answers only, at a constant
learning rate. Adam starts afresh in every round; the policy continues from the round before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config.policies import ExpertIteration
from rlhf_lab.config.runtime import Runtime

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel
    from trl.trainer.sft_trainer import SFTTrainer

    from rlhf_lab.scoring.reward_models import Reward, RewardOf

VERSION = 1
WEIGHTS, DRAWS, ROUNDS = "weights.safetensors", "draws.safetensors", "rounds.json"  # of a checkpoint
Ids = Sequence[Sequence[int]]


def run(
    config: ExpertIteration,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
    reward_of: RewardOf | None = None,
) -> None:
    """Train the policy for `config.rounds` rounds; answers are scored by the proxy, or by another reward if given."""
    import json

    import numpy as np

    from rlhf_lab.models import loading, sampling, tokenization, trl_arguments
    from rlhf_lab.scoring import reward_models, samples
    from rlhf_lab.scoring.heldout_evaluation import generator
    from rlhf_lab.stages.policy.training_session import training_session

    folder, task = inputs["sft"] / "model", inputs["task"]
    tokenizer = tokenization.load_tokenizer(folder)
    policy, ref = (loading.load_language_model(folder, runtime.device) for _ in range(2))
    prompts = samples.load_prompts(task, tokenizer, "train").ids
    tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    if reward_of is None:
        reward = reward_models.rewards_of_split(task, inputs["proxy"], tokenizer, "train", runtime)
    else:
        reward = reward_of(tokenizer)
    arguments = _arguments(config, out, runtime)
    rng, draws = np.random.default_rng(config.seed), generator(config.seed, 0)
    # Of all training prompts if there are fewer.
    rows_of_rounds = [rng.permutation(len(prompts))[: config.asked] for _ in range(config.rounds)]
    steps = config.rounds * config.steps
    with training_session(config, steps, ref, tokenizer, inputs, out, runtime) as session:
        metrics, done = session.metrics, 0
        checkpoint = session.begin(partial(session.evaluation.evaluate, policy))
        if checkpoint is not None:
            done = _load_checkpoint(policy, draws, checkpoint)
        for number, rows in enumerate(rows_of_rounds[done:], start=done):
            start, end = number * config.steps, (number + 1) * config.steps
            asked = [prompts[row] for row in rows]
            answers = sampling.sample(policy, asked, config.best_of, tokens, draws).tokens()
            best, rewards = best_answers(rows, answers, reward)
            metrics.log(start, reward=rewards.mean(), best_reward=rewards.max(1).mean())
            trainer = _trainer(policy, tokenizer, asked, best, arguments)
            trainer.add_callback(
                trl_arguments.AfterStep(lambda step, start=start: metrics.progress(start + step))
            )
            loss = trl_arguments.recording(trainer, metrics, names=()).train().training_loss
            metrics.log(end, loss=loss)
            session.evaluation.evaluate(policy, end)
            if number + 1 < config.rounds:
                session.pause(end, partial(_save_checkpoint, policy, draws, number + 1))
        session.finish(policy, tokenizer)


def _save_checkpoint(policy: PreTrainedModel, draws: torch.Generator, rounds: int, folder: Path) -> None:
    """Write to `folder` the state of training after `rounds` rounds."""
    from safetensors.torch import save_file

    from rlhf_lab.store.artifacts import write_json

    weights = {name: value.detach().contiguous() for name, value in policy.named_parameters()}
    save_file(weights, folder / WEIGHTS)
    save_file({"draws": draws.get_state()}, folder / DRAWS)
    write_json(folder / ROUNDS, rounds)


def _load_checkpoint(policy: PreTrainedModel, draws: torch.Generator, folder: Path) -> int:
    """Set policy and generator from the checkpoint in `folder`; return the number of rounds that were done."""
    import json

    from safetensors.torch import load_file

    from rlhf_lab.stages.policy.resumable import load_weights

    load_weights(policy, load_file(folder / WEIGHTS))
    draws.set_state(load_file(folder / DRAWS)["draws"])
    return json.loads((folder / ROUNDS).read_text())


def best_answers(rows: np.ndarray, answers: Ids, reward: Reward) -> tuple[list[Sequence[int]], np.ndarray]:
    """Return the answer with the highest reward of the n to each prompt in `rows` (P,), and all rewards (P, n)."""
    import numpy as np

    n = len(answers) // len(rows)
    rewards = reward(np.repeat(rows, n).tolist(), answers).reshape(len(rows), n)
    return [answers[i * n + best] for i, best in enumerate(rewards.argmax(1))], rewards


def _arguments(config: ExpertIteration, out: Path, runtime: Runtime) -> dict[str, Any]:
    """Return TRL's arguments for the fine-tuning of one round."""
    from rlhf_lab.models import trl_arguments

    return trl_arguments.arguments(out, config.seed, runtime) | {
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
    """Return the trainer of `policy` on one answer to each prompt."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
    from trl.trainer.utils import disable_dropout_in_model

    disable_dropout_in_model(policy)
    # The wrapper of the last round's trainer, which this one would wrap again.
    vars(policy).pop("forward", None)
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
