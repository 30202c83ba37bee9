"""The stage `task`: the files of an embedded task or of a file of preference pairs.

It has no inputs. It leaves the prompts split by question, the base corpus, demonstrations, a tokenizer for models
trained from scratch, `task.json`, and either what gold needs to know (`guide.parquet`, `rubric.parquet`) or the human
comparisons. The field guide leaves held-out documents of its corpus and minimal pairs, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import FieldGuide, PairFile, SyntheticAssistant, Task
from rlhf_lab.store import sources

VERSION = 1


def check(config: Task, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError if the task asks for more questions than there are, or if its file cannot be used."""
    if isinstance(config, SyntheticAssistant):
        from rlhf_lab.tasks.synthetic_assistant import corpus, world

        every = world.questions(config)
        heldout = len(corpus.heldout_questions(every, config.heldout_share))
        if not 0 < heldout < len(every):
            raise ValueError(
                f"task.heldout_share={config.heldout_share:g} holds out {heldout} of {len(every)} questions, expected "
                "some of both: choose a share nearer to one half"
            )
    elif isinstance(config, FieldGuide):
        from rlhf_lab.tasks.field_guide import corpus

        missing = corpus.lacking(config)
        if missing:
            raise ValueError(
                f"task.prompts={config.prompts} and task.heldout_share={config.heldout_share:g} leave no prompt "
                f"{missing}: draw more prompts, or choose a share nearer to one half"
            )
    elif isinstance(config, PairFile) and sources.here(config.path, config.revision):
        from rlhf_lab.tasks.preference_pairs.splits import differ_early, load_comparisons

        if not differ_early(load_comparisons(config).pairs, config.answer_tokens):
            from rlhf_lab.tasks.preference_pairs.corpus import select

            select(config)


def run(config: Task, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write the files of the task to `out`."""
    if isinstance(config, SyntheticAssistant):
        from rlhf_lab.tasks.synthetic_assistant import corpus

        corpus.write(config, out)
    elif isinstance(config, FieldGuide):
        from rlhf_lab.tasks.field_guide import corpus

        corpus.write(config, out)
    elif isinstance(config, PairFile):
        from rlhf_lab.tasks.preference_pairs import corpus

        corpus.write(config, out)
    else:
        raise TypeError(
            f"found a {type(config).__name__} as the task, expected an embedded task or a PairFile"
        )
