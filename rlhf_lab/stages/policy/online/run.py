"""A stage that trains on rollouts, whatever the method."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.online import Online
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models.trl_arguments import AfterStep
from rlhf_lab.scoring.heldout import schedule
from rlhf_lab.stages.policy.online.problem import Problem, load_problem
from rlhf_lab.stages.policy.online.rollouts import Report, Rollouts
from rlhf_lab.stages.policy.training_loop import METRICS, course
from rlhf_lab.store.metrics import Metrics

Make = Callable[[Problem, Any, Path, str, Report], Rollouts]  # problem, config, out, device, report


def run(config: Online, inputs: Mapping[str, Path], out: Path, runtime: Runtime, make: Make) -> None:
    """Train what `make` gives; leaves samples and reference tables, `tokenizer/`, `model/` and `metrics.jsonl`."""
    problem = load_problem(config, inputs, runtime)
    with course(config, config.steps, problem.sft, problem.tokenizer, inputs, out, runtime) as way:
        report = _Report(runtime.log_every, config.steps, way.metrics)
        trainer = make(problem, config, out, runtime.device, report)
        evaluated = set(schedule(config.steps, config.evaluations)) - {0}

        def evaluate(step: int) -> None:
            way.heldout.evaluate(problem.policy, step)

        def after(step: int) -> bool:
            """Evaluate and pause where it is time to; True where the KL budget is spent."""
            last = trainer.spent()
            if step in evaluated or last:
                evaluate(step)
            if step < config.steps and not last and trainer.at_rollout_boundary():
                way.pause(step, trainer.save_checkpoint)
            return last

        trainer.add_callback(AfterStep(after))
        begun = way.begin(evaluate)
        if begun is not None:
            report.go_on(begun / METRICS)
        trainer.go(begun)
        way.end(trainer.detached(), problem.tokenizer)


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
        """Count from the last rollout among the `lines` of an earlier try."""
        recorded = [json.loads(line) for line in lines.read_text().splitlines()]
        self._last = max((line["step"] for line in recorded if "reward" in line), default=0)
