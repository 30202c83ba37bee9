"""The course of a stage that trains a policy, whatever the method: evaluate, train, save, go on, stop."""

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
from rlhf_lab.scoring.heldout import Heldout
from rlhf_lab.store import interrupts
from rlhf_lab.store.checkpoints import Checkpoints
from rlhf_lab.store.metrics import Metrics

METRICS = "metrics.jsonl"


class Course:
    """What a policy's training leaves in `out`; a signal stops it at its next pause."""

    def __init__(self, out: Path, metrics: Metrics, heldout: Heldout, checkpoints: Checkpoints) -> None:
        self.metrics, self.heldout = metrics, heldout
        self._out, self._checkpoints = out, checkpoints

    def begin(self, evaluate: Callable[[int], None]) -> Path | None:
        """The checkpoint of an earlier try, what had been recorded taken up; without one, step 0 evaluated."""
        begun = self._checkpoints.last()
        if begun is None:
            evaluate(0)
        else:
            self.heldout.go_on(begun)
            self.metrics.go_on(begun / METRICS)
        return begun

    def pause(self, step: int, save: Callable[[Path], None]) -> None:
        """Here training can go on later from what `save` writes to a folder: do so when it is time, or stop."""

        def write(folder: Path) -> None:
            save(folder)
            self.heldout.save(folder)
            shutil.copy(self._out / METRICS, folder)

        if self._checkpoints.due() or interrupts.asked():
            self._checkpoints.save(step, write)
        interrupts.stop_if_asked()

    def end(self, policy: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Leave samples and reference tables, `tokenizer/` and `model/` beside `metrics.jsonl`."""
        self.heldout.save(self._out)
        tokenizer.save_pretrained(self._out / "tokenizer")
        loading.save(policy, tokenizer, self._out / "model")


@contextmanager
def course(
    config: Policy,
    steps: int,
    sft: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
) -> Iterator[Course]:
    """The course of training from `sft` over so many optimiser steps."""
    task = inputs["task"]
    tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    with Metrics(out, steps) as metrics, interrupts.patiently():
        heldout = Heldout(config, task, tokenizer, sft, tokens, metrics)
        yield Course(out, metrics, heldout, Checkpoints(out, runtime.checkpoint_minutes))
