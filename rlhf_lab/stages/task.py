"""The task's files: prompts split by question, what to learn from, and a tokenizer for models made from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import PairFile, SyntheticAssistant, Task
from rlhf_lab.store import sources

VERSION = 1


def check(config: Task, inputs: Mapping[str, Any]) -> None:
    """ValueError when the task asks for more questions than there are, or its file cannot be used."""
    if isinstance(config, SyntheticAssistant):
        from rlhf_lab.tasks.synthetic_assistant import world

        world.questions(config)
    elif isinstance(config, PairFile) and sources.here(config.path, config.revision):
        from rlhf_lab.tasks.preference_pairs.usable import differ_early, usable

        if not differ_early(usable(config).pairs, config.answer_tokens):
            from rlhf_lab.tasks.preference_pairs.corpus import select

            select(config)


def run(config: Task, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the files of `config`'s task to `out`."""
    if isinstance(config, SyntheticAssistant):
        from rlhf_lab.tasks.synthetic_assistant import corpus

        corpus.write(config, out)
    elif isinstance(config, PairFile):
        from rlhf_lab.tasks.preference_pairs import corpus

        corpus.write(config, out)
    else:
        raise TypeError(f"no task for a {type(config).__name__}")
