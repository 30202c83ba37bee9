"""What every training of a policy shares: evaluations, checkpoints, resuming, and stopping on a signal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.policies import Policy
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading
from rlhf_lab.scoring.heldout_evaluation import HeldoutEvaluation
from rlhf_lab.store import interrupts
from rlhf_lab.store.checkpoints import Checkpoints
from rlhf_lab.store.metrics import Metrics

METRICS = "metrics.jsonl"


class TrainingSession:
    """One training of a policy in the folder `out`, perhaps resumed; a signal stops it at its next pause."""

    def __init__(
        self, out: Path, metrics: Metrics, evaluation: HeldoutEvaluation, checkpoints: Checkpoints
    ) -> None:
        self.metrics, self.evaluation = metrics, evaluation
        self._out, self._checkpoints = out, checkpoints

    def begin(self, evaluate: Callable[[int], None]) -> Path | None:
        """Return the checkpoint of an earlier attempt, with its records loaded; without one, evaluate step 0."""
        checkpoint = self._checkpoints.last()
        if checkpoint is None:
            evaluate(0)
        else:
            self.evaluation.resume(checkpoint)
            self.metrics.go_on(checkpoint / METRICS)
        return checkpoint

    def pause(self, step: int, save: Callable[[Path], None]) -> None:
        """Save a checkpoint with `save(folder)` if one is due or a stop was asked for, and then stop if it was."""

        def write(folder: Path) -> None:
            """Write the training, its evaluations and its numbers so far to `folder`."""
            save(folder)
            self.evaluation.save(folder)
            shutil.copy(self._out / METRICS, folder)

        if self._checkpoints.due() or interrupts.asked():
            self._checkpoints.save(step, write)
        interrupts.stop_if_asked()

    def finish(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write `samples.parquet`, `reference.parquet`, `tokenizer/` and `model/` beside `metrics.jsonl`."""
        self.evaluation.save(self._out)
        tokenizer.save_pretrained(self._out / "tokenizer")
        loading.save(policy, tokenizer, self._out / "model")


@contextmanager
def training_session(
    config: Policy,
    steps: int,
    sft: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
) -> Iterator[TrainingSession]:
    """Give the session of a training from `sft` over `steps` optimiser steps."""
    task = inputs["task"]
    answer_tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    with Metrics(out, steps) as metrics, interrupts.patiently():
        evaluation = HeldoutEvaluation(config, task, tokenizer, sft, answer_tokens, metrics)
        yield TrainingSession(out, metrics, evaluation, Checkpoints(out, runtime.checkpoint_minutes))
