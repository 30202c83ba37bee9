"""The evaluation of a policy on held-out prompts as it learns: its own answers, and what it says of SFT's answers."""

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
    """Return the optimiser steps after which to evaluate: 0, and `evaluations` evenly spaced ones."""
    return sorted({round(i * steps / evaluations) for i in range(evaluations + 1)})


def generator(seed: int, stream: int) -> torch.Generator:
    """Return a generator that depends on the policy's seed and on its use (`stream`), not on earlier draws."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


class HeldoutEvaluation:
    """All evaluations of one policy against `sft`; each draws with a generator of its own."""

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
        """Sample answers from `policy` as it is after `step`; step 0 comes first, and there the policy is SFT."""
        model = self._sft if step == 0 else policy
        training = policy.training
        rows = answer_rows(
            policy=model,
            ref=self._sft,
            tokenizer=self._tokenizer,
            prompts=self._prompts,
            samples=self._samples,
            checkpoint=step,
            max_tokens=self._answer_tokens,
            generator=generator(self._seed, 1 + step),
        )
        self._evaluations.append(rows)
        reference = self._reference_rows(model, step)
        self._references.append(reference)
        policy.train(training)
        self._metrics.log(
            step,
            heldout_kl=float(rows["kl"].mean()),
            heldout_k1=float(rows["k1"].mean()),
            heldout_forward_kl=float(reference["forward_kl"].mean()),
            heldout_tokens=float(rows["tokens"].mean()),
        )

    def save(self, folder: Path) -> None:
        """Write `samples.parquet` and `reference.parquet` with all evaluations so far."""
        write_table(folder / SAMPLES, concatenated(self._evaluations))
        write_table(folder / REFERENCE, concatenated(self._references))

    def resume(self, folder: Path) -> None:
        """Load the evaluations that `save` wrote to `folder`."""
        self._evaluations = [read_columns(folder / SAMPLES)]
        self._references = [read_columns(folder / REFERENCE)]

    def _reference_rows(self, policy: PreTrainedModel, step: int) -> Columns:
        """Return the rows of `reference.parquet`: KL(SFT || policy) from SFT's first answer to each prompt."""
        sft = self._evaluations[0]
        first = np.flatnonzero((sft["sample"] == 0) & (sft["checkpoint"] == 0))
        answers = [sft["token_ids"][row] for row in first]
        ratios = log_ratios(self._sft, policy, self._prompts.ids, answers)  # SFT takes the policy's place
        return {
            "prompt_id": sft["prompt_id"][first],
            "question_id": sft["question_id"][first],
            "checkpoint": np.full(len(first), step, dtype=np.int32),
            "sample": sft["sample"][first],
            "logp": ratios.ref_logp,
            "ref_logp": ratios.logp,
            "forward_kl": ratios.exact,
        }
