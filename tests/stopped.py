"""Stop or kill a stage on its way, and let it go on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from runtime import ALWAYS_SAVED, RUNTIME

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store import interrupts, metrics


class Killed(BaseException):
    """Stands for a process that dies."""


def signalled_at(
    step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM
) -> list[int]:
    """Send this process a signal once a stage has come to `step`; return the list of steps that it reports."""
    heard: list[int] = []

    def listener(message: Mapping[str, Any]) -> None:
        heard.append(message["done"])
        if message["done"] >= step and not interrupts.asked():
            signal.raise_signal(number)

    monkeypatch.setattr(metrics, "LISTENERS", [listener])
    return heard


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Kill a stage at `step`, where it reports progress without a line of metrics or with one that holds `line`."""

    def listener(message: Mapping[str, Any]) -> None:
        if message["done"] >= step and line in (message["line"] or {line: 0}):
            raise Killed

    monkeypatch.setattr(metrics, "LISTENERS", [listener])


def steps(checkpoint: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder."""
    return [int(path.name.split("-")[1]) for path in checkpoint.glob("*")]


def assert_ends_alike(
    run: Callable[[Path, Runtime], None],
    folder: Path,
    stops: Callable[[pytest.MonkeyPatch], object],
    expected: int,
    runtime: Runtime = RUNTIME,
) -> None:
    """Assert that a run ended by `stops` leaves a checkpoint at step `expected` and ends like a run left alone.

    The files of the two runs must be equal to the byte.
    """
    whole, first, second = (folder / name for name in ("whole", "first", "second"))
    for out in (whole, first, second):
        out.mkdir()
    run(whole, RUNTIME)
    with pytest.MonkeyPatch.context() as patch, interrupts.listening():
        stops(patch)
        with pytest.raises((Killed, interrupts.Interrupted)):
            run(first, runtime)
    assert steps(first / "checkpoint") == [expected]
    shutil.copytree(first / "checkpoint", second / "checkpoint")
    run(second, ALWAYS_SAVED)
    for name in ("samples.parquet", "reference.parquet", "metrics.jsonl", "model/model.safetensors"):
        assert (whole / name).read_bytes() == (second / name).read_bytes(), name
