"""Where a long stage goes on from after it was stopped: one folder, replaced as a whole.

`out/checkpoint/` is the one part of a stage's folder that outlives a make that failed or was killed (see
`Store.publish`). A checkpoint gets its name by rename when it is whole, and the one before it goes only
then: at every moment there is none, or a whole one. The name holds a digest of what is in it, so that one
which a disk or a hand has changed since is passed over.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from rlhf_lab.store.artifacts import CHECKPOINT, file_digest


class Checkpoints:
    """The checkpoints of the stage that works in `out`, at most one every `minutes`."""

    def __init__(self, out: Path, minutes: float) -> None:
        self._folder, self._partial = out / CHECKPOINT, out / "checkpoint.partial"
        self._seconds = 60 * minutes
        self._saved = time.monotonic()

    def last(self) -> Path | None:
        """The newest checkpoint that is as it was written; None when there is none."""
        found = self._folder.glob("step-*")
        return max((folder for folder in found if folder.name == _name(folder)), key=_step, default=None)

    def due(self) -> bool:
        """Whether so much work has been done since the last one that it should not be lost."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Make what `write` puts into an empty folder the checkpoint of `step`, and forget earlier ones."""
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
    """What a folder with these contents is called."""
    return f"step-{_step(folder) if step is None else step}-{file_digest(folder)[:20]}"
