"""The stage `base`: a small language model trained from scratch on the task's base corpus.

The input is the task; the stage leaves `model/` (weights, configuration, tokenizer) and `metrics.jsonl`. Training is
a plain loop over packed blocks of tokens: at these sizes a trainer's bookkeeping would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.models import ScratchModel
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics, require_finite

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

VERSION = 1
WARMUP = 0.05  # of the steps


def run(config: ScratchModel, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train the model and save it with the task's tokenizer in `out/model`."""
    import json

    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.store.records import read_table

    task = inputs["task"]
    tokenizer = tokenization.load_tokenizer(task / "tokenizer")
    limits = json.loads((task / "task.json").read_text())
    length = limits["prompt_tokens"] + limits["answer_tokens"]
    model = loading.build_language_model(config, tokenizer, length, config.seed).to(runtime.device)
    blocks = pack(read_table(task / "base.parquet")["text"].to_pylist(), tokenizer, length)

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: trapezoid(step, config.steps))
    generator = torch.Generator().manual_seed(config.seed)
    with Metrics(out, config.steps) as metrics:
        for step in range(1, config.steps + 1):
            rows = torch.randint(len(blocks), (config.batch,), generator=generator)
            batch = blocks[rows].to(runtime.device)  # (B, T)
            loss = model(input_ids=batch, labels=batch).loss
            require_finite(step, loss=loss.item())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            if step % runtime.log_every == 0 or step == config.steps:
                metrics.log(step, loss=loss.item())
    loading.save(model, tokenizer, out / "model")


def pack(documents: list[str], tokenizer: PreTrainedTokenizerBase, length: int) -> torch.Tensor:
    """Return the documents, each ended by EOS, as one row of tokens that is cut into blocks (N, length)."""
    import torch

    encoded = tokenizer(documents, add_special_tokens=False)["input_ids"]
    ids = [token for document in encoded for token in (*document, tokenizer.eos_token_id)]
    count = len(ids) // length
    if count == 0:
        raise ValueError(
            f"the base corpus has {len(ids)} tokens, expected at least {length}: give it more documents"
        )
    return torch.tensor(ids[: count * length]).view(count, length)


def trapezoid(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at `step`: a short warm-up, then linear decay to zero."""
    warmup = max(1, round(WARMUP * steps))
    return min((step + 1) / warmup, (steps - step) / (steps - warmup + 1))
