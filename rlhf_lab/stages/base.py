"""The stage `base`: a small language model trained from scratch on the task's base corpus.

The input is the task; the stage leaves `model/` (weights, configuration, tokenizer) and `metrics.jsonl`. Training is
a plain loop over rows of tokens: at these sizes a trainer's bookkeeping would cost more than the arithmetic. Where the
task has held-out corrections, the model is judged on them at LOOKS moments (`heldout_loss`, `truth_auc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config.models import ScratchModel
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics, require_finite

if TYPE_CHECKING:
    import torch

    Rows = Iterator[tuple[torch.Tensor, torch.Tensor]]  # what is read and what is learned, (B, T) each

VERSION = 1
WARMUP = 0.05  # of the steps
LOOKS = 20  # moments at which the model is judged
ALIKE = 16  # batches whose documents are sorted by length, so that little is padded


def run(config: ScratchModel, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train the model and save it with the task's tokenizer in `out/model`."""
    import json

    import torch

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.scoring import corrections
    from rlhf_lab.store.records import read_table

    task = inputs["task"]
    tokenizer = tokenization.load_tokenizer(task / "tokenizer")
    limits = json.loads((task / "task.json").read_text())
    length = limits["prompt_tokens"] + limits["answer_tokens"]
    model = loading.build_language_model(config, tokenizer, length, config.seed).to(runtime.device)
    texts = read_table(task / "base.parquet")["text"].to_pylist()
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    documents = [[*document, tokenizer.eos_token_id] for document in encoded]
    generator = torch.Generator().manual_seed(config.seed)
    if config.packed:
        rows = random_rows(pack(documents, length), config.batch, generator)
    else:
        rows = rows_alike([document[:length] for document in documents], config.batch, generator)
    judge = corrections.judge(task, tokenizer, length)

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: trapezoid(step, config.steps, config.decay)
    )
    looks = {round(config.steps * look / LOOKS) for look in range(1, LOOKS + 1)}
    with Metrics(out, config.steps) as metrics:
        for step in range(1, config.steps + 1):
            ids, labels = (tensor.to(runtime.device) for tensor in next(rows))  # (B, T)
            loss = model(input_ids=ids, labels=labels).loss
            require_finite(step, loss=loss.item())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            if judge is not None and step in looks:
                metrics.log(step, loss=loss.item(), **judge(model))
            elif step % runtime.log_every == 0 or step == config.steps:
                metrics.log(step, loss=loss.item())
    loading.save(model, tokenizer, out / "model")


def pack(documents: list[list[int]], length: int) -> torch.Tensor:
    """Return the tokens of all documents, one after the other, cut into blocks (N, length)."""
    import torch

    ids = [token for document in documents for token in document]
    count = len(ids) // length
    if count == 0:
        raise ValueError(
            f"the base corpus has {len(ids)} tokens, expected at least {length}: give it more documents"
        )
    return torch.tensor(ids[: count * length]).view(count, length)


def random_rows(blocks: torch.Tensor, batch: int, generator: torch.Generator) -> Rows:
    """Yield random rows of the blocks without end, (batch, T), as what is read and what is learned."""
    import torch

    while True:
        ids = blocks[torch.randint(len(blocks), (batch,), generator=generator)]
        yield ids, ids


def rows_alike(documents: list[list[int]], batch: int, generator: torch.Generator) -> Rows:
    """Yield all documents again and again, in another order each time, `batch` of similar length at a time.

    They are padded on the right, (batch, T), and padding is not learned (-100).
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    lengths = torch.tensor([len(document) for document in documents])
    tensors = torch.tensor([*chain.from_iterable(documents)]).split(lengths.tolist())
    while True:
        for some in torch.randperm(len(tensors), generator=generator).split(batch * ALIKE):
            alike = some[lengths[some].argsort(stable=True)].split(batch)
            for number in torch.randperm(len(alike), generator=generator).tolist():
                rows = [tensors[row] for row in alike[number].tolist()]
                yield (
                    pad_sequence(rows, batch_first=True),
                    pad_sequence(rows, batch_first=True, padding_value=-100),
                )


def trapezoid(step: int, steps: int, decay: float) -> float:
    """Return the share of the peak learning rate at `step`: a short warm-up, and linear decay to zero at the end."""
    warmup = max(1, round(WARMUP * steps))
    fall = min(decay * steps, steps - warmup + 1)
    return min((step + 1) / warmup, 1.0, (steps - step) / fall)
