"""Milliseconds of an optimiser step of PPO, GRPO and RLOO, beside TRL's bare trainers with their KL on.

    python -m benchmarks.step [--hidden 32] [--steps 24]

Same model, batch, passes, groups, lengths and reward model for all; ours include all that is recorded. The learning
rate is too small to change the lengths.
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
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from benchmarks import small
from rlhf_lab.config.online import GRPO, PPO, RLOO, Divergence, Online, Place
from rlhf_lab.scoring.reward_models import reward
from rlhf_lab.stages.policy.online import rollouts
from rlhf_lab.stages.policy.online.grpo_rloo import GRPOOnRollouts, RLOOOnRollouts
from rlhf_lab.stages.policy.online.ppo import PPOTrainer
from rlhf_lab.stages.policy.online.setup import Setup

ROUNDS = 5
ROLLOUT, PASSES, GROUP = 128, 2, 8
LR, KL_COEF = 1e-7, 0.05
COMMON: dict[str, Any] = {
    "seed": 0, "prompts": 1, "samples": 1, "rollout": ROLLOUT, "minibatches": 1, "passes": PASSES, "lr": LR,
    "warmup": 0, "beta2": 0.95, "eos_penalty": 0.0, "reference_ema": 0.0, "kl_budget": None, "evaluations": 1,
    "clip": 0.2, "divergence": Divergence.reverse_kl, "kl_coef": KL_COEF, "kl_target": None,
}  # fmt: skip
METHODS: dict[str, tuple[type[Online], dict[str, Any]]] = {
    "PPO": (
        PPO,
        {"kl_place": Place.reward, "critic_lr": LR, "value_clip": 0.2, "gamma": 1.0, "gae_lambda": 0.95}
        | {"ptx_coef": 0.0, "ptx_batch": 1},
    ),
    "GRPO": (GRPO, {"kl_place": Place.loss, "group": GROUP}),
    "RLOO": (RLOO, {"kl_place": Place.reward, "group": GROUP}),
}
BARE: dict[str, tuple[Any, Any]] = {
    "GRPO": (GRPOTrainer, GRPOConfig),
    "RLOO": (RLOOTrainer, RLOOConfig),
}


class Parts:
    """Processor time spent in functions, by name."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time added to `part`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            """What `function` returns, its time counted."""
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


def ours(
    name: str, policy: PreTrainedModel, rm: PreTrainedModel, steps: int, out: Path, parts: Parts
) -> Trainer:
    """Our trainer of this method, its parts timed."""
    prompts, sft = small.prompts(512), copy.deepcopy(policy)

    def score(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> Any:
        return reward(rm, [prompts[row] for row in rows], answers, 512)

    kind, own = METHODS[name]
    config: Any = kind(**COMMON, **own, steps=steps)
    setup = Setup(
        policy=policy,
        sft=sft,
        reference=sft,
        tokenizer=small.tokenizer(),
        prompts=prompts,
        reward=score,
        mean=0.0,
        sd=1.0,
        answer_tokens=small.ANSWER_TOKENS,
    )
    trainer = _trainer(setup, rm, config, out)
    trainer._generate_and_score_completions = parts.timed("rollout", trainer._generate_and_score_completions)
    trainer.training_step = parts.timed("training_step", trainer.training_step)
    trainer._clip_grad_norm = parts.timed("optimiser", trainer._clip_grad_norm)
    optimizer = trainer.create_optimizer()
    optimizer.step = parts.timed("optimiser", optimizer.step)
    return trainer


def _trainer(setup: Setup, rm: PreTrainedModel, config: Any, out: Path) -> Any:
    def report(step: int, numbers: dict[str, float]) -> None:
        pass

    if isinstance(config, PPO):
        return PPOTrainer(setup, copy.deepcopy(rm), [], config, out, "cpu", report)
    kind = GRPOOnRollouts if isinstance(config, GRPO) else RLOOOnRollouts
    return kind(setup, config, out, "cpu", report)


def bare(name: str, policy: PreTrainedModel, rm: PreTrainedModel, steps: int, out: Path) -> Trainer:
    """TRL's trainer of this method as it comes."""
    prompts, tokenizer = small.prompts(512), small.tokenizer()
    policy.save_pretrained(out / "policy")  # where it loads its reference from
    tokenizer.save_pretrained(out / "policy")
    texts = [tokenizer.decode(ids) for ids in prompts]
    by_text = dict(zip(texts, prompts, strict=True))

    def score(prompts: list[str], completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
        return reward(rm, [by_text[text] for text in prompts], completion_ids, 512).tolist()

    kind, arguments = BARE[name]
    return kind(
        model=str(out / "policy"),
        reward_funcs=score,
        args=arguments(
            output_dir=str(out / "trainer"),
            max_steps=steps,
            learning_rate=LR,
            per_device_train_batch_size=ROLLOUT,
            num_generations=GROUP,
            num_iterations=PASSES,
            steps_per_generation=1,
            max_completion_length=small.ANSWER_TOKENS,
            beta=KL_COEF,
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
        "rewards, reference, values": spent["rollout"] - spent["sampling"],
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
    policy, rm, parts = small.language_model(args.hidden), small.reward_model(args.hidden), Parts()
    rollouts.sample = parts.timed("sampling", rollouts.sample)
    mine: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    theirs: dict[str, list[float]] = {name: [] for name in BARE}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for _ in range(ROUNDS):
            for name in METHODS:
                trainer = ours(name, copy.deepcopy(policy), rm, args.steps, out, parts)
                mine[name].append(clocked(trainer, parts))
            for name in BARE:
                trainer = bare(name, copy.deepcopy(policy), rm, args.steps, out)
                theirs[name].append(clocked(trainer, Parts())["step"])
    print(
        f"width {args.hidden}, rollout {ROLLOUT}, {PASSES} passes, up to {small.ANSWER_TOKENS} tokens; ms a step"
    )
    bare_ms = {name: median(times) for name, times in theirs.items()}
    for name, rounds in mine.items():
        named = shares(rounds)
        total, against = sum(named.values()), name if name in BARE else "GRPO"
        print(f"{name:32} {total:7.1f}   {total / bare_ms[against]:.2f} x bare {against}")
        for part, value in named.items():
            print(f"  {part:30} {value:7.1f}  {value / total:5.0%}")
    for name, value in bare_ms.items():
        print(f"bare TRL {name}, beta {KL_COEF:<14} {value:7.1f}")


if __name__ == "__main__":
    main()
