"""The stage `activations`: hidden states of the evaluated policy where its answer begins.

The inputs are the task, the SFT model and the samples of a policy; the model is the trained policy, or SFT if none
was trained. The stage leaves `activations.parquet`, one row a sampled prompt: what a linear probe may read from the
model before the answer begins.
"""

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
    """The configuration of the stage, which has no setting: it reads the middle and the last layer."""


def run(config: HiddenStates, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Write `prompt_id` and the hidden states at the prompt's last token, `middle` and `last`, (hidden,) float16."""
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
    prompts = prompts.take(prompt_id)  # the id of a prompt is its row
    ids = tokenization.prompts_ids(tokenizer, prompts["messages"].to_pylist(), limit)
    with Metrics(out, len(ids)) as metrics:
        middle, last = _states(model, ids, metrics)
    columns = {
        "prompt_id": prompts["prompt_id"].to_numpy(),
        "middle": list(middle.astype(np.float16)),
        "last": list(last.astype(np.float16)),
    }
    write_table(out / ACTIVATIONS, columns)


def _states(model, ids, metrics):
    """Return the hidden states of the middle and of the last layer, (2, P, hidden) float32."""
    import numpy as np
    import torch

    from rlhf_lab.models.batches import left_padded, pad_token, positions

    parts = []
    with torch.inference_mode():
        for start in range(0, len(ids), BATCH):
            prompt, mask = left_padded(ids[start : start + BATCH], pad_token(model))
            mask = None if mask is None else mask.to(model.device)
            layers = model(
                input_ids=prompt.to(model.device),
                attention_mask=mask,
                position_ids=positions(mask),
                output_hidden_states=True,
                use_cache=False,
                logits_to_keep=1,
            ).hidden_states
            states = torch.stack([layers[len(layers) // 2], layers[-1]])[:, :, -1]
            parts.append(states.float().cpu().numpy())
            metrics.progress(min(start + BATCH, len(ids)))
    return np.concatenate(parts, axis=1)
