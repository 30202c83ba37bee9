"""The numbers of a stage as it runs: lines of `metrics.jsonl`, which listeners (job record, tracker) receive too."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

Listener = Callable[[dict[str, Any]], None]
LISTENERS: list[Listener] = []  # set by the command for the job that this process runs


class Metrics:
    """Writes `out/metrics.jsonl`, one line per call of `log`, and passes every line to the listeners.

    `total` is the number of steps of the stage, if it is known.
    """

    def __init__(self, out: Path, total: int | None = None) -> None:
        self._stream = (out / "metrics.jsonl").open("a", buffering=1)
        self._total = total

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stream.close()

    def log(self, step: int, **values: float) -> None:
        """Record `values` at optimiser step `step`; FloatingPointError if a value is not finite."""
        require_finite(step, **values)
        self._record({"step": step} | {name: round(float(value), 6) for name, value in values.items()})

    def go_on(self, lines: Path) -> None:
        """Record the lines of an earlier try of this stage, from whose checkpoint it goes on."""
        for line in lines.read_text().splitlines():
            self._record(json.loads(line))

    def _record(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line) + "\n")
        self.progress(line["step"], line)

    def progress(self, step: int, line: dict[str, Any] | None = None) -> None:
        """Tell the listeners that the stage is at `step`, without recording a line."""
        for listener in LISTENERS:
            listener({"done": step, "total": self._total, "line": line})


def require_finite(step: int, **values: float) -> None:
    """Raise FloatingPointError with the name of the first of `values` that is NaN or infinite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {step}: the run stops here")
