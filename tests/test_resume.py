"""A PPO run that was stopped goes on from its checkpoint and ends as one that was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online import inputs, settings
from runtime import ALWAYS_SAVED, RUNTIME
from stopped import Killed, killed_at, signalled_at, steps

from rlhf_lab.models import loading
from rlhf_lab.stages.policy import trainers
from rlhf_lab.store import interrupts
from rlhf_lab.store.checkpoints import Checkpoints
from rlhf_lab.store.records import read_table

__all__ = ["inputs"]  # a fixture
EVERY_ROLLOUT = replace(ALWAYS_SAVED, log_every=3)
CONFIG = settings(steps=22, evaluations=4)  # 4 steps a rollout, one rollout an epoch: 30 prompts, 16 answers


def test_a_run_that_is_told_to_stop_leaves_a_checkpoint_at_the_next_rollout(
    inputs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_at(7, monkeypatch)
    out = tmp_path / "out"
    out.mkdir()
    with interrupts.listening(), pytest.raises(interrupts.Interrupted):
        trainers.run(
            replace(CONFIG, evaluations=22), inputs, out, RUNTIME
        )  # evaluated, and heard of, at every step
    assert steps(out / "checkpoint") == [8]


def test_a_checkpoint_that_was_changed_is_passed_over(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "state").write_text("whole")

    checkpoints = Checkpoints(tmp_path, minutes=0)
    assert checkpoints.last() is None
    checkpoints.save(4, write)
    checkpoints.save(12, write)
    last = checkpoints.last()
    assert steps(tmp_path / "checkpoint") == [12] and last is not None
    (last / "state").write_text("who")
    assert checkpoints.last() is None


def ended(inputs: Mapping[str, Path], out: Path) -> tuple[dict[str, Any], list[Any], dict[str, torch.Tensor]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    samples = read_table(out / "samples.parquet")
    return samples.to_pydict(), lines, loading.load_language_model(out / "model").state_dict()


@pytest.fixture
def whole(inputs: Mapping[str, Path], tmp_path: Path) -> Any:
    out = tmp_path / "whole"
    out.mkdir()
    trainers.run(CONFIG, inputs, out, replace(RUNTIME, log_every=3))
    assert not (out / "checkpoint").exists(), "a run shorter than checkpoint_minutes saves nothing"
    return ended(inputs, out)


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(
    inputs: Mapping[str, Path], whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "none"
    for number, step in enumerate((2, 8, 13, 21)):  # before the first checkpoint, then in three epochs
        out = tmp_path / f"try{number}"
        out.mkdir()
        if checkpoint.exists():
            shutil.copytree(checkpoint, out / "checkpoint")
        killed_at(step, monkeypatch, "reward")
        with pytest.raises(Killed):
            trainers.run(CONFIG, inputs, out, EVERY_ROLLOUT)
        checkpoint = out / "checkpoint"
        assert steps(checkpoint) == ([] if step < 4 else [(step - 1) // 4 * 4])
    monkeypatch.undo()
    out = tmp_path / "end"
    shutil.copytree(checkpoint, out / "checkpoint")
    trainers.run(CONFIG, inputs, out, EVERY_ROLLOUT)
    assert (out / "samples.parquet").read_bytes() == (tmp_path / "whole/samples.parquet").read_bytes()
    samples, lines, weights = ended(inputs, out)
    assert samples == whole[0] and lines == whole[1]
    for name, value in weights.items():
        np.testing.assert_allclose(value, whole[2][name], atol=1e-6, rtol=0)
