"""A policy on held-out prompts as it learns: its answers at every checkpoint, and what it makes of SFT's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.policies import Policy
from rlhf_lab.models.log_ratios import log_ratios
from rlhf_lab.scoring.samples import Columns, answer_rows, concatenated, load_prompts, read_columns, spread
from rlhf_lab.store.metrics import Metrics
from rlhf_lab.store.records import REFERENCE, SAMPLES, write_table


def schedule(steps: int, evaluations: int) -> list[int]:
    """The optimiser steps after which held-out prompts are sampled: 0, and `evaluations` even ones."""
    return sorted({round(i * steps / evaluations) for i in range(evaluations + 1)})


def generator(seed: int, stream: int) -> torch.Generator:
    """Random numbers that depend on the policy's seed and on their use, not on what was drawn before."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


class Heldout:
    """Evaluations against `sft`, which stays as it is; each draws from a generator of its own."""

    def __init__(
        self,
        config: Policy,
        task: Path,
        tokenizer: PreTrainedTokenizerBase,
        sft: PreTrainedModel,
        answer_tokens: int,
        metrics: Metrics,
    ) -> None:
        self._seed, self._samples = config.seed, config.samples
        self._prompts = spread(load_prompts(task, tokenizer, "heldout"), config.prompts)
        self._tokenizer, self._sft, self._answer_tokens = tokenizer, sft, answer_tokens
        self._metrics = metrics
        self._evaluations: list[Columns] = []
        self._references: list[Columns] = []

    def evaluate(self, policy: PreTrainedModel, step: int) -> None:
        """Sample the prompts from `policy` as it is after `step`; at step 0, the first, that is SFT."""
        one = self._sft if step == 0 else policy
        training = policy.training
        rows = answer_rows(
            *(one, self._sft, self._tokenizer, self._prompts, self._samples, step, self._answer_tokens),
            generator(self._seed, 1 + step),
        )
        self._evaluations.append(rows)
        forward = self._forward(one, step)
        self._references.append(forward)
        policy.train(training)
        self._metrics.log(
            step,
            heldout_kl=float(rows["kl"].mean()),
            heldout_k1=float(rows["k1"].mean()),
            heldout_forward_kl=float(forward["forward_kl"].mean()),
            heldout_tokens=float(rows["tokens"].mean()),
        )

    def save(self, folder: Path) -> None:
        """Write what there is so far, as the stage leaves it in the end."""
        write_table(folder / SAMPLES, concatenated(self._evaluations))
        write_table(folder / REFERENCE, concatenated(self._references))

    def go_on(self, folder: Path) -> None:
        """Take up what there was when `folder` was saved."""
        self._evaluations = [read_columns(folder / SAMPLES)]
        self._references = [read_columns(folder / REFERENCE)]

    def _forward(self, policy: PreTrainedModel, step: int) -> Columns:
        """KL(SFT || policy) from SFT's first answer to each prompt: the rows of reference.parquet."""
        sft = self._evaluations[0]
        first = np.flatnonzero((sft["sample"] == 0) & (sft["checkpoint"] == 0))
        answers = [sft["token_ids"][row] for row in first]
        ratios = log_ratios(self._sft, policy, self._prompts.ids, answers)  # of SFT to the policy
        return {
            "prompt_id": sft["prompt_id"][first],
            "question_id": sft["question_id"][first],
            "checkpoint": np.full(len(first), step, dtype=np.int32),
            "sample": sft["sample"][first],
            "logp": ratios.ref_logp,
            "ref_logp": ratios.logp,
            "forward_kl": ratios.exact,
        }
