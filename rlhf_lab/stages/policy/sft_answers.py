"""Many SFT answers to every held-out prompt, once: what best-of-n and every other rule of selection chooses from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rlhf_lab.config.policies import SFTAnswers
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

VERSION = 1
PORTION = 16  # prompts between two reports of progress


def run(config: SFTAnswers, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample the held-out prompts from SFT; `samples.parquet`, and the tokenizer whose ids it holds."""
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
        """Columns of the answers to some prompts at a time."""
        for start in range(0, len(prompts.ids), PORTION):
            portion = prompts.take(range(start, min(start + PORTION, len(prompts.ids))))
            yield answer_rows(
                sft, sft, tokenizer, portion, config.samples, 0, limits["answer_tokens"], generator
            )
            metrics.progress(start + len(portion.ids))

    with Metrics(out, len(prompts.ids)) as metrics:
        write_parts(out / SAMPLES, portions(metrics))
    tokenizer.save_pretrained(out / "tokenizer")
