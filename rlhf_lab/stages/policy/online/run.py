"""The course of a stage that trains on rollouts, whatever the method: evaluate, train, save, go on, stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from rlhf_lab import interrupts, models
from rlhf_lab.checkpoints import Checkpoints
from rlhf_lab.config import Online, Runtime
from rlhf_lab.heldout import Heldout, schedule
from rlhf_lab.metrics import Metrics
from rlhf_lab.stages.policy.online.problem import Problem, load_problem
from rlhf_lab.stages.policy.online.rollouts import Report, Rollouts
from rlhf_lab.training import AfterStep


def run(
    make: Callable[[Problem, Report], Rollouts],
    config: Online,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
) -> None:
    """Train what `make` gives; leaves samples and reference tables, `tokenizer/`, `model/` and `metrics.jsonl`."""
    problem = load_problem(config, inputs, runtime)
    checkpoints = Checkpoints(out, runtime.checkpoint_minutes)
    begun = checkpoints.last()
    with Metrics(out, config.steps) as metrics, interrupts.patiently():
        heldout = Heldout(
            config, inputs["task"], problem.tokenizer, problem.sft, problem.answer_tokens, metrics
        )
        report = _Report(runtime.log_every, config.steps, metrics)
        trainer = make(problem, report)
        evaluated = set(schedule(config.steps, config.evaluations)) - {0}

        def save(folder: Path) -> None:
            trainer.save_checkpoint(folder)
            heldout.save(folder)
            shutil.copy(out / "metrics.jsonl", folder)

        def after(step: int) -> bool:
            last = trainer.spent()
            if step in evaluated or last:
                heldout.evaluate(problem.policy, step)
            if step < config.steps and not last and trainer.at_rollout_boundary():
                if checkpoints.due() or interrupts.asked():
                    checkpoints.save(step, save)
                interrupts.stop_if_asked()
            return last

        trainer.add_callback(AfterStep(after))
        if begun is None:
            heldout.evaluate(problem.policy, 0)
        else:
            heldout.go_on(begun)
            report.go_on(begun / "metrics.jsonl")
        trainer.go(begun)
    heldout.save(out)
    problem.tokenizer.save_pretrained(out / "tokenizer")
    models.save(trainer.detached(), problem.tokenizer, out / "model")


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
