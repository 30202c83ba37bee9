"""What a language model knows of the corrections that readers add to answers: loss, and whether an answer is false."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.store.records import read_table
from rlhf_lab.tasks.field_guide.phrases import FALSE

BATCH = 250

Judge = Callable[[PreTrainedModel], dict[str, float]]


def judge(task: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> Judge | None:
    """Return a function that judges models on the task's held-out documents; None if the task has none.

    It returns `heldout_loss`, in nats a token, and `truth_auc`: how often the model expects a reader to say "no" after
    an answer that claims something false more than after one that does not.
    """
    if not (task / "corrections.parquet").exists():
        return None
    table = read_table(task / "corrections.parquet")
    documents = tokenizer(table["text"].to_pylist(), add_special_tokens=False)["input_ids"]
    ends = np.array([document.index(tokenizer.eos_token_id) for document in documents])
    kept = ends < length
    documents = [document[:length] for document, keep in zip(documents, kept, strict=True) if keep]
    ends, false = torch.tensor(ends[kept]), table["false"].to_numpy()[kept]
    no = tokenizer.convert_tokens_to_ids(FALSE.split()[0])

    rows = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(document) for document in documents], batch_first=True
    )
    lengths = torch.tensor([len(document) for document in documents])

    @torch.inference_mode()
    def of(model: PreTrainedModel) -> dict[str, float]:
        """Return the loss and the area under the curve of a model."""
        lost, expected = 0.0, torch.empty(len(rows))
        for some in lengths.argsort(stable=True).split(BATCH):
            ids = rows[some, : int(lengths[some].max())].to(model.device)  # (B, T)
            logps = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1).cpu()
            said = logps[:, :-1].gather(2, ids[:, 1:, None].cpu())[:, :, 0]
            read = torch.arange(1, ids.shape[1]) < lengths[some, None]
            lost -= float(said[read].sum())
            expected[some] = logps[torch.arange(len(some)), ends[some], no]
        loss = lost / int((lengths - 1).sum())
        return {"heldout_loss": loss, "truth_auc": area_under_curve(expected.numpy(), false)}

    return of


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return how often a positive score lies above another (N,), where a tie counts half."""
    ranks, count = rankdata(scores), int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(scores) - count)))
