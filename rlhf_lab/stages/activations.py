"""Hidden states of the evaluated policy where its answer begins: what a linear probe may read before a word is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

VERSION = 1
BATCH = 128


@dataclass(slots=True)
class HiddenStates:
    """Nothing to choose: the middle and the last layer."""


def run(config: HiddenStates, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Read each prompt of `samples.parquet` once, by the policy as training left it, or by SFT if none was trained.

    `activations.parquet`: `prompt_id`, and `middle` and `last`, lists of float16: hidden states (hidden,) at the last
    token of the prompt.
    """
    import json

    import numpy as np

    from rlhf_lab.models import loading, tokenization
    from rlhf_lab.store.records import ACTIVATIONS, SAMPLES, read_table, write_table

    trained = inputs["samples"] / "model"
    folder = trained if trained.is_dir() else inputs["sft"] / "model"
    model = loading.load_language_model(folder, runtime.device)
    tokenizer = tokenization.load_tokenizer(folder)
    limit = json.loads((inputs["task"] / "task.json").read_text())["prompt_tokens"]
    sampled = read_table(inputs["samples"] / SAMPLES, ["prompt_id"])["prompt_id"].to_numpy()
    prompt_id = np.unique(sampled)
    prompts = read_table(inputs["task"] / "prompts.parquet")
    asked = prompts.take(prompt_id)  # a prompt's id is its row
    ids = tokenization.prompts_ids(tokenizer, asked["messages"].to_pylist(), limit)
    with Metrics(out, len(ids)) as metrics:
        middle, last = _states(model, ids, metrics)
    columns = {"middle": list(middle.astype(np.float16)), "last": list(last.astype(np.float16))}
    write_table(out / ACTIVATIONS, {"prompt_id": asked["prompt_id"].to_numpy(), **columns})


def _states(model, ids, metrics):
    """Hidden states (P, hidden) of the middle and of the last layer, float32."""
    import numpy as np
    import torch

    from rlhf_lab.models.batches import left_padded, pad_token, positions

    found = []
    with torch.inference_mode():
        for start in range(0, len(ids), BATCH):
            prompt, mask = left_padded(ids[start : start + BATCH], pad_token(model))
            mask = None if mask is None else mask.to(model.device)
            read = model(
                input_ids=prompt.to(model.device),
                attention_mask=mask,
                position_ids=positions(mask),
                output_hidden_states=True,
                use_cache=False,
                logits_to_keep=1,
            ).hidden_states
            states = torch.stack([read[len(read) // 2], read[-1]])[:, :, -1]
            found.append(states.float().cpu().numpy())
            metrics.progress(min(start + BATCH, len(ids)))
    return np.concatenate(found, axis=1)
