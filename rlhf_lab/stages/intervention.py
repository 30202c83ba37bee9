"""The stage `intervention`: fine-tuning on simple synthetic data against sycophancy (2308.03958).

The inputs are the task and the SFT model. The data are questions with a user's opinion that says nothing about the
truth, mixed with demonstrations. A model can only learn to guess what it does not know, so the paper's filter leaves
out the questions whose answer the model does not know. The stage leaves `model/`, `examples.parquet` with the
training data, and `metrics.jsonl`, whose first line counts questions and examples.
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

VERSION = 2  # no warm-up below 20 steps


@dataclass(slots=True)
class OnTask:
    """The configuration of the stage."""

    task: SyntheticAssistant
    intervention: SyntheticData


def run(config: OnTask, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Filter the training questions, make examples of them, and fine-tune the SFT model on the mixture."""
    import json
    import random

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.stages.fine_tuning import fine_tune
    from rlhf_lab.store.records import read_table, write_table
    from rlhf_lab.tasks.synthetic_assistant import opinions

    settings, start, task = config.intervention, inputs["sft"] / "model", inputs["task"]
    questions = opinions.training_questions(config.task)
    limit = json.loads((task / "task.json").read_text())["prompt_tokens"]
    model = loading.load_language_model(start, runtime.device)
    options = [opinions.options(question) for question in questions]
    known = known_answers(model, tokenization.load_tokenizer(start), options, limit)
    kept = questions
    if settings.filter:
        kept = [question for question, is_known in zip(questions, known, strict=True) if is_known]
    if not kept:
        raise ValueError(
            f"the model knows the answer to none of {len(questions)} training questions, expected some to make "
            "examples of: raise model.steps or sft.steps, or set intervention.filter=false"
        )
    rng = random.Random(settings.seed)
    rows = settings.steps * settings.batch
    examples = opinions.independent_examples(config.task, kept, round(settings.share * rows), rng)
    table = read_table(task / "demonstrations.parquet", ["messages", "answer"]).to_pylist()
    demonstrations = [opinions.Demonstration(**row) for row in rng.choices(table, k=rows - len(examples))]
    messages, answers = map(list, zip(*examples, *demonstrations, strict=True))
    generated = [True] * len(examples) + [False] * len(demonstrations)
    write_table(out / "examples.parquet", {"messages": messages, "answer": answers, "generated": generated})
    training = SFT(settings.steps, settings.batch, settings.lr, settings.seed)
    with Metrics(out, settings.steps) as metrics:
        metrics.log(
            0,
            questions=len(questions),
            known=sum(known),
            kept=len(kept),
            examples=len(examples),
            demonstrations=len(demonstrations),
        )
        fine_tune(training, start, task, messages, answers, out, metrics, runtime)


def known_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Options], limit: int
) -> list[bool]:
    """Return for each question whether its true claim has the highest probability, summed over all wordings in nats."""
    import numpy as np

    from rlhf_lab.models import tokenization
    from rlhf_lab.models.log_ratios import log_probabilities

    pairs = [
        (prompt, claim) for options in questions for claim in options.claims for prompt in options.prompts
    ]
    prompts = tokenization.prompts_ids(tokenizer, [prompt for prompt, _ in pairs], limit)
    claims = tokenizer([claim for _, claim in pairs], add_special_tokens=False)["input_ids"]
    logps = log_probabilities(model, prompts, claims)
    ends = np.cumsum([len(options.claims) * len(options.prompts) for options in questions])[:-1]
    known = []
    for options, values in zip(questions, np.split(logps, ends), strict=True):
        total = values.reshape(len(options.claims), len(options.prompts)).sum(axis=1)
        known.append(bool(total[0] > total[1:].max()))
    return known
