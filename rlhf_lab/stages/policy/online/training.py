"""The training of a policy on rollouts, whatever the method: it evaluates, reports and saves checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.online import Online
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models.trl_arguments import AfterStep
from rlhf_lab.scoring.heldout_evaluation import schedule
from rlhf_lab.scoring.reward_models import RewardOf
from rlhf_lab.stages.policy.online.rollouts import Report, Rollouts
from rlhf_lab.stages.policy.online.setup import Setup, load_setup
from rlhf_lab.stages.policy.training_session import METRICS, training_session
from rlhf_lab.store.metrics import Metrics

MakeTrainer = Callable[[Setup, Any, Path, str, Report], Rollouts]  # setup, config, out, device, report


def train(
    config: Online,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
    make_trainer: MakeTrainer,
    reward: RewardOf | None = None,
) -> None:
    """Train with the trainer that `make_trainer` returns; leave samples, reference, tokenizer, model and metrics."""
    setup = load_setup(config, inputs, runtime, reward)
    with training_session(config, config.steps, setup.sft, setup.tokenizer, inputs, out, runtime) as session:
        report = _Report(runtime.log_every, config.steps, session.metrics)
        trainer = make_trainer(setup, config, out, runtime.device, report)
        scheduled = set(schedule(config.steps, config.evaluations)) - {0}

        def evaluate(step: int) -> None:
            """Evaluate the policy after `step` on held-out prompts."""
            session.evaluation.evaluate(setup.policy, step)

        def after_step(step: int) -> bool:
            """Evaluate and pause where it is time to; return True, which ends training, once the KL budget is spent."""
            last = trainer.kl_budget_spent()
            if step in scheduled or last:
                evaluate(step)
            if step < config.steps and not last and trainer.between_rollouts():
                session.pause(step, trainer.save_checkpoint)
            return last

        trainer.add_callback(AfterStep(after_step))
        checkpoint = session.begin(evaluate)
        if checkpoint is not None:
            report.resume(checkpoint / METRICS)
        trainer.train_from(checkpoint)
        session.finish(trainer.policy_to_save(), setup.tokenizer)


class _Report:
    """Records the numbers of a rollout unless the last line is less than `log_every` steps old."""

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

    def resume(self, lines: Path) -> None:
        """Count from the last rollout among the `lines` of an earlier attempt."""
        recorded = [json.loads(line) for line in lines.read_text().splitlines()]
        self._last = max((line["step"] for line in recorded if "reward" in line), default=0)
