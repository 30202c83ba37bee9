"""Checkpoints, from which a long stage goes on after it was stopped.

`out/checkpoint/` is the one part of a stage's folder that outlives a try that failed or was killed (see
`Store.publish`). A checkpoint gets its name by a rename once it is whole, and the one before it is removed only then,
so that at every moment there is none or a whole one. The name holds a digest of the contents, and a checkpoint whose
contents have changed is passed over.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rlhf_lab.store.artifacts import CHECKPOINT, file_digest


class Checkpoints:
    """The checkpoints of the stage that works in the folder `out`, at most one every `minutes`."""

    def __init__(self, out: Path, minutes: float) -> None:
        self._folder, self._partial = out / CHECKPOINT, out / "checkpoint.partial"
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def last(self) -> Path | None:
        """Return the newest checkpoint that is as it was written, or None if there is none."""
        unchanged = (folder for folder in self._folder.glob("step-*") if folder.name == _name(folder))
        return max(unchanged, key=_step, default=None)

    def due(self) -> bool:
        """Return whether `minutes` have passed since the last checkpoint."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Save the checkpoint of `step`, which `write` puts into an empty folder, and remove earlier ones."""
        self._partial.mkdir()
        write(self._partial)
        self._folder.mkdir(exist_ok=True)
        self._partial.rename(self._folder / _name(self._partial, step))
        for other in self._folder.glob("step-*"):
            if _step(other) < step:
                shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def _name(folder: Path, step: int | None = None) -> str:
    """Return the name of a checkpoint with the contents of `folder`."""
    return f"step-{_step(folder) if step is None else step}-{file_digest(folder)[:20]}"
