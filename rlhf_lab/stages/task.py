"""The task's files: prompts split by question, what to learn from, and a tokenizer for models made from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rlhf_lab.config import PairFile, Runtime, SyntheticAssistant, Task

VERSION = 1


def run(config: Task, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the files of `config`'s task to `out`."""
    if isinstance(config, SyntheticAssistant):
        from rlhf_lab.tasks.synthetic_assistant import corpus

        corpus.write(config, out)
    elif isinstance(config, PairFile):
        from rlhf_lab.tasks import preference_pairs

        preference_pairs.write(config, out)
    else:
        raise TypeError(f"no task for a {type(config).__name__}")
