"""PPO against the proxy reward, evaluated on held-out prompts on a schedule."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config import PPO, Runtime
from rlhf_lab.metrics import Metrics

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlhf_lab.stages.policy.ppo_trainer import Problem, Reward

VERSION = 1
SFT_SAMPLES = 512  # answers that fix the reward's zero and unit; its SD is then known to 3 %


def run(config: PPO, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train; leaves `samples.parquet` (every checkpoint), `reference.parquet`, `tokenizer/`, `model/` and
    `metrics.jsonl`.
    """
    from rlhf_lab import interrupts, models
    from rlhf_lab.checkpoints import Checkpoints
    from rlhf_lab.heldout import Heldout, schedule
    from rlhf_lab.stages.policy.ppo_trainer import PPOTrainer, arguments, detach_critic
    from rlhf_lab.training import AfterStep

    problem = load_problem(config, inputs, runtime)
    checkpoints = Checkpoints(out, runtime.checkpoint_minutes)
    begun = checkpoints.last()
    with Metrics(out, config.steps) as metrics, interrupts.patiently():
        heldout = Heldout(
            config, inputs["task"], problem.tokenizer, problem.ref, problem.answer_tokens, metrics
        )
        report = _Report(runtime.log_every, config.steps, metrics)
        trainer = PPOTrainer(problem, config, arguments(config, out, runtime.device), report)
        later = set(schedule(config.steps, config.evaluations)) - {0}

        def save(folder: Path) -> None:
            trainer.save_checkpoint(folder)
            heldout.save(folder)
            shutil.copy(out / "metrics.jsonl", folder)

        def after(step: int) -> None:
            if step in later:
                heldout.evaluate(problem.policy, step)
            if step < config.steps and trainer.at_rollout_boundary():
                if checkpoints.due() or interrupts.asked():
                    checkpoints.save(step, save)
                interrupts.stop_if_asked()

        trainer.add_callback(AfterStep(after))
        if begun is None:
            heldout.evaluate(problem.policy, 0)
        else:
            heldout.go_on(begun)
            report.go_on(begun / "metrics.jsonl")
        trainer.go(begun)
    heldout.save(out)
    problem.tokenizer.save_pretrained(out / "tokenizer")
    models.save(detach_critic(problem.policy), problem.tokenizer, out / "model")


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

    from rlhf_lab import heldout
    from rlhf_lab.sampling import sample

    rows = np.random.default_rng(seed).integers(len(prompts), size=SFT_SAMPLES).tolist()
    answers = sample(ref, [prompts[row] for row in rows], 1, tokens, heldout.generator(seed, 0)).tokens()
    raw = reward(rows, answers)
    mean, sd = float(raw.mean()), float(raw.std())
    if not (np.isfinite(raw).all() and sd > 0):
        raise FloatingPointError(f"the proxy rewards SFT answers with {mean} +- {sd}: nothing to optimise")
    return mean, sd


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
