"""Answers scored per second: `reward_models.reward` against file order at batch 64.

python -m benchmarks.scoring [--hidden 32] [--answers 8192]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from transformers import PreTrainedModel

from benchmarks import small
from rlhf_lab.models import sampling
from rlhf_lab.models.batches import Ids
from rlhf_lab.scoring import reward_models

PROMPTS = 32
BATCH = 512  # runtime.score_batch


def in_file_order(model: PreTrainedModel, prompts: Ids, answers: Ids, batch: int = 64) -> np.ndarray:
    """The reward of each answer, (N,), batches taken as they come."""
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    scores = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        width = max(map(len, part))
        ids = torch.tensor([row + [small.PAD] * (width - len(row)) for row in part])
        mask = torch.arange(width) < torch.tensor([len(row) for row in part])[:, None]
        with torch.inference_mode():
            scores.append(model(input_ids=ids, attention_mask=mask).logits[:, 0])
    return torch.cat(scores).numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--answers", type=int, default=8192)
    args = parser.parse_args()
    model, generator = small.reward_model(args.hidden), torch.Generator().manual_seed(0)
    prompts, each = small.prompts(PROMPTS), args.answers // PROMPTS
    sampled = sampling.sample(small.language_model(), prompts, each, small.ANSWER_TOKENS, generator)
    asked, answers = [prompt for prompt in prompts for _ in range(each)], sampled.tokens()

    plain = in_file_order(model, asked, answers)
    bucketed = reward_models.reward(model, asked, answers, BATCH)
    took = small.seconds(
        {
            "file order, batch 64": lambda: in_file_order(model, asked, answers),
            f"scoring.reward, batch {BATCH}": lambda: reward_models.reward(model, asked, answers, BATCH),
        }
    )
    print(
        f"width {args.hidden}, {len(answers)} answers of {sampled.lengths.float().mean():.1f} tokens on average"
    )
    for name, time in took.items():
        print(f"{name:28} {len(answers) / time:8.0f} answers/s")
    slow, fast = took.values()
    print(f"{'ratio':28} {slow / fast:8.2f}")
    print(f"{'largest difference':28} {np.abs(plain - bucketed).max():8.1e}")


if __name__ == "__main__":
    main()
