"""The stage `sft_answers`: many SFT answers to every held-out prompt.

Best-of-n and every other rule of selection choose among these answers. The inputs are the task and the SFT model; the
stage leaves `samples.parquet`, one row an answer, and `tokenizer/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rlhf_lab.config.policies import SFTAnswers
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

VERSION = 1
PORTION = 16  # prompts between two reports of progress


def run(config: SFTAnswers, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample answers to the held-out prompts from SFT."""
    import json

    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring.samples import Columns, answer_rows, load_prompts, spread
    from rlhf_lab.store.records import SAMPLES, write_parts

    limits = json.loads((inputs["task"] / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(inputs["sft"] / "model")
    sft = loading.load_language_model(inputs["sft"] / "model", runtime.device)
    prompts = spread(load_prompts(inputs["task"], tokenizer, "heldout"), config.prompts)
    generator = torch.Generator(runtime.device).manual_seed(config.seed)

    def portions(metrics: Metrics) -> Iterator[Columns]:
        """Give the columns of the answers to PORTION prompts at a time."""
        for start in range(0, len(prompts.ids), PORTION):
            portion = prompts.take(range(start, min(start + PORTION, len(prompts.ids))))
            yield answer_rows(
                policy=sft,
                ref=sft,
                tokenizer=tokenizer,
                prompts=portion,
                samples=config.samples,
                checkpoint=0,
                max_tokens=limits["answer_tokens"],
                generator=generator,
            )
            metrics.progress(start + len(portion.ids))

    with Metrics(out, len(prompts.ids)) as metrics:
        write_parts(out / SAMPLES, portions(metrics))
    tokenizer.save_pretrained(out / "tokenizer")
