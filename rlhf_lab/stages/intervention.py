"""Simple synthetic data against sycophancy (2308.03958): more fine-tuning, in which opinions say nothing of the truth.

What a model does not know it can only learn to guess, so questions are put to it first, and those whose answer it does
not know are left out: the paper's filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.intervention import SyntheticData
from rlhf_lab.config.models import SFT
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.config.tasks import SyntheticAssistant
from rlhf_lab.store.metrics import Metrics

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlhf_lab.tasks.synthetic_assistant.opinions import Options

VERSION = 1


@dataclass(slots=True)
class OnTask:
    """The configuration of the stage."""

    task: SyntheticAssistant
    intervention: SyntheticData


def run(config: OnTask, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Fine-tune the SFT model on examples and demonstrations; `out/model`, and `examples.parquet` with what it learned
    from. The first line of `metrics.jsonl` counts training questions, those known and kept, and examples of each sort.
    """
    import json
    import random

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.stages.fine_tuning import fine_tune
    from rlhf_lab.store.records import read_table, write_table
    from rlhf_lab.tasks.synthetic_assistant import opinions

    own, start, task = config.intervention, inputs["sft"] / "model", inputs["task"]
    asked = opinions.asked(config.task)
    limit = json.loads((task / "task.json").read_text())["prompt_tokens"]
    model = loading.load_language_model(start, runtime.device)
    knows = known(model, tokenization.load_tokenizer(start), [opinions.options(one) for one in asked], limit)
    kept = [one for one, sure in zip(asked, knows, strict=True) if sure] if own.filter else asked
    if not kept:
        raise ValueError(
            f"the model knows the answer to none of {len(asked)} training questions, expected some to make examples "
            "of: raise model.steps or sft.steps, or set intervention.filter=false"
        )
    rng = random.Random(own.seed)
    rows = own.steps * own.batch
    examples = opinions.independent(config.task, kept, round(own.share * rows), rng)
    table = read_table(task / "demonstrations.parquet", ["messages", "answer"]).to_pylist()
    shown = [opinions.Shown(**row) for row in rng.choices(table, k=rows - len(examples))]
    counts = {"questions": len(asked), "known": sum(knows), "kept": len(kept)}
    messages, answers = map(list, zip(*examples, *shown, strict=True))
    generated = [True] * len(examples) + [False] * len(shown)
    write_table(out / "examples.parquet", {"messages": messages, "answer": answers, "generated": generated})
    training = SFT(own.steps, own.batch, own.lr, own.seed)
    with Metrics(out, own.steps) as metrics:
        metrics.log(0, **counts, examples=len(examples), demonstrations=len(shown))
        fine_tune(training, start, task, messages, answers, out, metrics, runtime)


def known(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Options], limit: int
) -> list[bool]:
    """Of each question whether the model gives its truth the highest probability of all claims, over all wordings."""
    import numpy as np

    from rlhf_lab.models import tokenization
    from rlhf_lab.models.log_ratios import log_probabilities

    pairs = [(prompt, claim) for of in asked for claim in of.claims for prompt in of.prompts]
    prompts = tokenization.prompts_ids(tokenizer, [prompt for prompt, _ in pairs], limit)
    claims = tokenizer([claim for _, claim in pairs], add_special_tokens=False)["input_ids"]
    of_pairs = log_probabilities(model, prompts, claims)
    ends = np.cumsum([len(of.claims) * len(of.prompts) for of in asked])[:-1]
    found = []
    for of, values in zip(asked, np.split(of_pairs, ends), strict=True):
        total = values.reshape(len(of.claims), len(of.prompts)).sum(axis=1)
        found.append(bool(total[0] > total[1:].max()))
    return found
