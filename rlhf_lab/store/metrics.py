"""A stage's numbers as it runs: lines of `metrics.jsonl`, and whoever listens (job record, tracker)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

Listener = Callable[[dict[str, Any]], None]
LISTENERS: list[Listener] = []  # set by the command line for the job that this process runs


class Metrics:
    """Writes `out/metrics.jsonl`, one line per call; every line is also handed to the listeners."""

    def __init__(self, out: Path, total: int | None = None) -> None:
        self._stream = (out / "metrics.jsonl").open("a", buffering=1)
        self._total = total

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stream.close()

    def log(self, step: int, **values: float) -> None:
        """Record `values` at optimiser step `step`; FloatingPointError names a value that is not finite."""
        require_finite(step, **values)
        line = {"step": step, **{name: round(float(value), 6) for name, value in values.items()}}
        self._record(line)

    def go_on(self, lines: Path) -> None:
        """Record again the lines of an earlier try at this stage, from which it goes on."""
        for line in lines.read_text().splitlines():
            self._record(json.loads(line))

    def _record(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line) + "\n")
        self.progress(line["step"], line)

    def progress(self, step: int, line: dict[str, Any] | None = None) -> None:
        """Tell the listeners how far the stage is (`step` of `total`) without recording a line."""
        for listener in LISTENERS:
            listener({"done": step, "total": self._total, "line": line})


def require_finite(step: int, **values: float) -> None:
    """FloatingPointError names the first of `values` that is NaN or infinite, and the step."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {step}: the run stops here")
