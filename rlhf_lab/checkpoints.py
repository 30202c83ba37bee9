"""Where a long stage goes on from after it was stopped: one folder, replaced as a whole.

`out/checkpoint/` is the one part of a stage's folder that outlives a make that failed or was killed (see
`Store.publish`). A checkpoint gets its name by rename when it is whole, and the one before it goes only
then: at every moment there is none, or a whole one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rlhf_lab.store import CHECKPOINT


class Checkpoints:
    """The checkpoints of the stage that works in `out`, at most one every `minutes`."""

    def __init__(self, out: Path, minutes: float) -> None:
        self._folder, self._partial = out / CHECKPOINT, out / "checkpoint.partial"
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def last(self) -> Path | None:
        """The newest checkpoint; None when there is none."""
        return max(self._folder.glob("step-*"), key=_step, default=None)

    def due(self) -> bool:
        """Whether so much work has been done since the last one that it should not be lost."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make what `write` puts into an empty folder the checkpoint of `step`, and forget earlier ones."""
        self._partial.mkdir()
        write(self._partial)
        self._folder.mkdir(exist_ok=True)
        self._partial.rename(self._folder / f"step-{step}")
        for other in self._folder.glob("step-*"):
            if _step(other) < step:
                shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()


def _step(folder: Path) -> int:
    return int(folder.name.partition("-")[2])
