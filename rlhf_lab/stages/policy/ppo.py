"""PPO against the proxy reward, evaluated on held-out prompts on a schedule."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab.config import PPO, Runtime
from rlhf_lab.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlhf_lab.stages.policy.ppo_trainer import PPOTrainer, Problem, Reward

VERSION = 1
SFT_SAMPLES = 512  # answers that fix the reward's zero and unit; its SD is then known to 3 %


def schedule(steps: int, evaluations: int) -> list[int]:
    """The optimiser steps after which held-out prompts are sampled: 0, and `evaluations` even ones."""
    return sorted({round(i * steps / evaluations) for i in range(evaluations + 1)})


def run(config: PPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves `samples.parquet` (every checkpoint), `tokenizer/`, `model/` and `metrics.jsonl`."""
    from rlhf_lab import interrupts, models
    from rlhf_lab.checkpoints import Checkpoints
    from rlhf_lab.evaluation import concatenated
    from rlhf_lab.records import write_table
    from rlhf_lab.stages.policy.ppo_trainer import AfterStep, PPOTrainer, arguments, detach_critic

    problem = load_problem(config, inputs, runtime)
    checkpoints = Checkpoints(out, runtime.checkpoint_minutes)
    begun = checkpoints.last()
    evaluations: list[dict[str, Any]] = []
    with Metrics(out, config.steps) as metrics, interrupts.patiently():
        evaluate = _evaluation(config, inputs["task"], problem, metrics, evaluations)
        report = _Report(runtime.log_every, config.steps, metrics)
        trainer = PPOTrainer(problem, config, arguments(config, out, runtime.device), report)
        later = set(schedule(config.steps, config.evaluations)) - {0}

        def after(step: int) -> None:
            if step in later:
                evaluate(step)
            if step < config.steps and trainer.at_rollout_boundary():
                if checkpoints.due() or interrupts.asked():
                    checkpoints.save(step, lambda folder: _save(trainer, evaluations, out, folder))
                interrupts.stop_if_asked()

        trainer.add_callback(AfterStep(after))
        if begun is None:
            evaluate(0)
        else:
            _restore(begun, evaluations, report)
        trainer.go(begun)
    write_table(out / "samples.parquet", concatenated(evaluations))
    problem.tokenizer.save_pretrained(out / "tokenizer")
    models.save(detach_critic(problem.policy), problem.tokenizer, out / "model")


def _save(trainer: PPOTrainer, evaluations: Sequence[Mapping[str, Any]], out: Path, folder: Path) -> None:
    """Write to `folder` the trainer's state, and what the run has to show so far."""
    from rlhf_lab.evaluation import concatenated
    from rlhf_lab.records import write_table

    trainer.save_checkpoint(folder)
    write_table(folder / "samples.parquet", concatenated(evaluations))
    shutil.copy(out / "metrics.jsonl", folder)


def _restore(folder: Path, evaluations: list[dict[str, Any]], report: _Report) -> None:
    """Take up what the run had to show when `folder` was saved."""
    from rlhf_lab.evaluation import read_columns

    evaluations.append(read_columns(folder / "samples.parquet"))
    report.go_on(folder / "metrics.jsonl")


def load_problem(config: PPO, inputs: Mapping[str, Path], runtime: Runtime) -> Problem:
    """Models, training prompts and the proxy reward with its zero and unit on SFT answers."""
    from rlhf_lab import evaluation, models, text
    from rlhf_lab.stages.policy.ppo_trainer import Problem

    folder, proxy = inputs["sft"] / "model", inputs["proxy"] / "model"
    tokenizer = text.load_tokenizer(folder)
    prompts = evaluation.load_prompts(inputs["task"], tokenizer, "train")
    tokens = json.loads((inputs["task"] / "task.json").read_text())["answer_tokens"]
    reward = _reward(inputs["task"], proxy, tokenizer, tokens, runtime)
    ref = models.load_language_model(folder, runtime.device)
    mean, sd = _scale(ref, prompts.ids, tokens, reward, config.seed)
    same = text.same_tokens(text.load_tokenizer(proxy), tokenizer)
    return Problem(
        policy=models.load_language_model(folder, runtime.device),
        ref=ref,
        critic=models.load_reward_model(
            proxy if same else folder, runtime.device
        ),  # it reads the policy's tokens
        tokenizer=tokenizer,
        prompts=prompts.ids,
        reward=reward,
        mean=mean,
        sd=sd,
        answer_tokens=tokens,
    )


def _reward(
    task: Path, proxy: Path, writer: PreTrainedTokenizerBase, answer_tokens: int, runtime: Runtime
) -> Reward:
    """The proxy's reward of answers (ids of `writer`) to training prompts (numbers within the split)."""
    from rlhf_lab import evaluation, models, scoring, text

    reader = text.load_tokenizer(proxy)
    prompts = evaluation.load_prompts(task, reader, "train").ids
    model = models.load_reward_model(proxy, runtime.device)
    same = text.same_tokens(reader, writer)

    def reward(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        if not same:
            texts = [text.answer_text(writer, ids) for ids in answers]
            answers = text.answers_read_by(reader, writer, texts, answers, answer_tokens)
        return scoring.reward(model, [prompts[row] for row in rows], answers, runtime.score_batch)

    return reward


def _scale(
    ref: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int, reward: Reward, seed: int
) -> tuple[float, float]:
    """Mean and SD of the reward over SFT answers to training prompts."""
    import numpy as np

    from rlhf_lab.sampling import sample

    rows = np.random.default_rng(seed).integers(len(prompts), size=SFT_SAMPLES).tolist()
    answers = sample(ref, [prompts[row] for row in rows], 1, tokens, _generator(seed, 0)).tokens()
    raw = reward(rows, answers)
    mean, sd = float(raw.mean()), float(raw.std())
    if not (np.isfinite(raw).all() and sd > 0):
        raise FloatingPointError(f"the proxy rewards SFT answers with {mean} +- {sd}: nothing to optimise")
    return mean, sd


def _evaluation(
    config: PPO, task: Path, problem: Problem, metrics: Metrics, into: list[dict[str, Any]]
) -> Callable[[int], None]:
    """A function that samples the held-out prompts at a step; it draws from a generator of its own."""
    from rlhf_lab.evaluation import answer_rows, load_prompts, spread

    prompts = spread(load_prompts(task, problem.tokenizer, "heldout"), config.prompts)

    def evaluate(step: int) -> None:
        policy = problem.policy if step else problem.ref
        tokenizer, tokens = problem.tokenizer, problem.answer_tokens
        generator = _generator(config.seed, 1 + step)
        rows = answer_rows(policy, problem.ref, tokenizer, prompts, config.samples, step, tokens, generator)
        into.append(rows)
        kl, k1 = float(rows["kl"].mean()), float(rows["k1"].mean())
        metrics.log(step, heldout_kl=kl, heldout_k1=k1, heldout_tokens=float(rows["tokens"].mean()))

    return evaluate


def _generator(seed: int, stream: int) -> torch.Generator:
    """Random numbers that depend on the policy's seed and on their use, not on what was drawn before."""
    import numpy as np
    import torch

    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


class _Report:
    """Records a rollout's numbers unless the last line is less than `log_every` steps old."""

    def __init__(self, log_every: int, steps: int, metrics: Metrics) -> None:
        self._log_every, self._steps, self._metrics = log_every, steps, metrics
        self._last = 0

    def __call__(self, step: int, numbers: dict[str, float]) -> None:
        """Record or pass over the numbers of the rollout that ended at `step`."""
        if step - self._last >= self._log_every or step == self._steps:
            self._metrics.log(step, **numbers)
            self._last = step
        else:
            self._metrics.progress(step)

    def go_on(self, lines: Path) -> None:
        """Record again the `lines` of an earlier try, and count from their last rollout."""
        self._metrics.go_on(lines)
        recorded = [json.loads(line) for line in lines.read_text().splitlines()]
        self._last = max((line["step"] for line in recorded if "reward" in line), default=0)
