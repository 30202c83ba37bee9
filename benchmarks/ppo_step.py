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
from rlhf_lab.config import PPO, Divergence, Place
from rlhf_lab.scoring import reward
from rlhf_lab.stages.policy import ppo_trainer

ROUNDS = 5
ROLLOUT, PASSES = 128, 2
LR = 1e-7


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


class Clock(TrainerCallback):
    """Processor time per optimiser step and per part of it, from the end of the first rollout on."""

    def __init__(self, parts: Parts) -> None:
        self.times: list[float] = []
        self.parts = parts

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.times.append(time.process_time())
        if len(self.times) == PASSES:
            self.parts.spent.clear()

    def milliseconds(self) -> dict[str, float]:
        """Of a step, by part; "step" is all of it."""
        counted = self.times[PASSES - 1 :]
        spent = {**self.parts.spent, "step": counted[-1] - counted[0]}
        return {part: 1000 * seconds / (len(counted) - 1) for part, seconds in spent.items()}


def ours(policy: PreTrainedModel, rm: PreTrainedModel, steps: int, out: Path, parts: Parts) -> Trainer:
    """Our PPO trainer, its parts timed."""
    prompts = small.prompts(512)

    def score(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> Any:
        return reward(rm, [prompts[row] for row in rows], answers, 512)

    config = PPO(
        seed=0, prompts=1, samples=1, steps=steps, rollout=ROLLOUT, minibatches=1, passes=PASSES, lr=LR,
        critic_lr=LR, warmup=0, beta2=0.95, kl_coef=0.0, clip=0.2, value_clip=0.2, gamma=1.0,
        gae_lambda=0.95, evaluations=1,
        eos_penalty=0.0, reference_ema=0.0, kl_budget=None,
        divergence=Divergence.reverse_kl, kl_place=Place.reward, kl_target=None, ptx_coef=0.0, ptx_batch=4,
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
    trainer._generate_and_score_completions = parts.timed("rollout", trainer._generate_and_score_completions)
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


def clocked(trainer: Trainer, parts: Parts) -> dict[str, float]:
    """Milliseconds of a training step, by part."""
    clock = Clock(parts)
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.milliseconds()


def shares(rounds: list[dict[str, float]]) -> dict[str, float]:
    """What a step consists of: medians over rounds, nested parts taken apart."""
    spent = {part: median(times[part] for times in rounds) for part in rounds[0]}
    named = {
        "sampling": spent["sampling"],
        "rewards, values, reference": spent["rollout"] - spent["sampling"],
        "losses and gradients": spent["training_step"] - spent["rollout"],
        "clipping and Adam": spent["optimiser"],
    }
    return named | {"rest: the Trainer's loop": spent["step"] - sum(named.values())}


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
            mine.append(clocked(ours(copy.deepcopy(policy), rm, args.steps, Path(folder), parts), parts))
            theirs.append(clocked(bare(copy.deepcopy(policy), rm, args.steps, Path(folder)), parts))
    named = shares(mine)
    total, grpo = sum(named.values()), median(times["step"] for times in theirs)
    print(
        f"width {args.hidden}, rollout {ROLLOUT}, {PASSES} passes, up to {small.ANSWER_TOKENS} tokens; ms a step"
    )
    for name, value in named.items():
        print(f"  {name:28} {value:7.1f}  {value / total:5.0%}")
    print(f"{'PPO':30} {total:7.1f}")
    print(f"{'bare GRPOTrainer, beta > 0':30} {grpo:7.1f}")
    print(f"{'ratio':30} {total / grpo:7.2f}")


if __name__ == "__main__":
    main()
