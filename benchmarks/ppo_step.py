"""Seconds per PPO step and its share by part, beside TRL's bare GRPOTrainer with its KL on.

    python -m benchmarks.ppo_step [--hidden 32] [--steps 24]

Same model, batch, passes, lengths and reward model for both;
the learning rate is too small to change the lengths.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from benchmarks import small
from rlhf_lab.config import PPO
from rlhf_lab.scoring import reward
from rlhf_lab.stages.policy import ppo_trainer

ROUNDS = 5
ROLLOUT, PASSES = 128, 2
LR = 1e-7


class Clock(TrainerCallback):
    """Processor time per optimiser step, the first rollout left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.times.append(time.process_time())

    def per_step(self) -> float:
        """Seconds."""
        counted = self.times[PASSES - 1 :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


class Parts:
    """Time spent in functions, by name."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `part`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent[part] += time.process_time() - start

        return call


def ours(policy: PreTrainedModel, rm: PreTrainedModel, steps: int, out: Path, parts: Parts) -> Trainer:
    """Our PPO trainer, its parts timed."""
    prompts = small.prompts(512)

    def score(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> Any:
        return reward(rm, [prompts[row] for row in rows], answers, 512)

    config = PPO(
        seed=0, prompts=1, samples=1, steps=steps, rollout=ROLLOUT, minibatches=1, passes=PASSES, lr=LR,
        critic_lr=LR, warmup=0, beta2=0.95, kl_coef=0.0, clip=0.2, value_clip=0.2, gamma=1.0,
        gae_lambda=0.95, evaluations=1,
    )  # fmt: skip
    problem = ppo_trainer.Problem(
        policy=policy,
        ref=copy.deepcopy(policy),
        critic=copy.deepcopy(rm),
        tokenizer=small.tokenizer(),
        prompts=prompts,
        reward=score,
        mean=0.0,
        sd=1.0,
        answer_tokens=small.ANSWER_TOKENS,
    )
    args = ppo_trainer.arguments(config, out, "cpu")
    trainer: Any = ppo_trainer.PPOTrainer(problem, config, args, lambda step, numbers: None)
    trainer._generate_and_score_completions = parts.timed(
        "rollout and scores", trainer._generate_and_score_completions
    )
    trainer.training_step = parts.timed("training_step", trainer.training_step)
    trainer._clip_grad_norm = parts.timed("optimiser", trainer._clip_grad_norm)
    optimizer = trainer.create_optimizer()
    optimizer.step = parts.timed("optimiser", optimizer.step)
    return trainer


def bare(policy: PreTrainedModel, rm: PreTrainedModel, steps: int, out: Path) -> Trainer:
    """TRL's GRPOTrainer as it comes."""
    prompts = small.prompts(512)
    tokenizer = small.tokenizer()
    policy.save_pretrained(out / "policy")  # where it loads its reference from
    tokenizer.save_pretrained(out / "policy")
    texts = [tokenizer.decode(ids) for ids in prompts]
    by_text = dict(zip(texts, prompts, strict=True))

    def score(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
        return reward(rm, [by_text[text] for text in prompts], completion_ids, 512).tolist()

    return GRPOTrainer(
        model=str(out / "policy"),
        reward_funcs=score,
        args=GRPOConfig(
            output_dir=str(out / "trainer"),
            max_steps=steps,
            learning_rate=LR,
            per_device_train_batch_size=ROLLOUT,
            num_generations=8,
            num_iterations=PASSES,
            steps_per_generation=1,
            max_completion_length=small.ANSWER_TOKENS,
            beta=0.05,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": texts}),
        processing_class=tokenizer,
    )


def clocked(trainer: Trainer) -> float:
    """Seconds per step of a training run."""
    clock = Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.per_step()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy, rm = small.language_model(args.hidden), small.reward_model(args.hidden)
    parts, mine, theirs = Parts(), [], []
    ppo_trainer.sample = parts.timed("sampling", ppo_trainer.sample)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            mine.append(clocked(ours(copy.deepcopy(policy), rm, args.steps, Path(folder), parts)))
            theirs.append(clocked(bare(copy.deepcopy(policy), rm, args.steps, Path(folder))))
    spent = {part: 1000 * seconds / ROUNDS / args.steps for part, seconds in parts.spent.items()}
    scores = spent["rollout and scores"]
    shares = {
        "sampling": spent["sampling"],
        "rewards, values, reference": scores - spent["sampling"],
        "losses and gradients": spent["training_step"] - scores,
        "clipping and Adam": spent["optimiser"],
    }
    total, grpo = 1000 * median(mine), 1000 * median(theirs)
    shares["rest: the Trainer's loop"] = total - sum(shares.values())
    print(
        f"width {args.hidden}, rollout {ROLLOUT}, {PASSES} passes, up to {small.ANSWER_TOKENS} tokens; ms a step"
    )
    for name, value in shares.items():
        print(f"  {name:28} {value:7.1f}  {value / total:5.0%}")
    print(f"{'PPO':30} {total:7.1f}")
    print(f"{'bare GRPOTrainer, beta > 0':30} {grpo:7.1f}")
    print(f"{'ratio':30} {total / grpo:7.2f}")


if __name__ == "__main__":
    main()
