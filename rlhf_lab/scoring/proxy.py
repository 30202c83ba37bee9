"""The proxy: one reward model, or several with a rule that combines them, and perhaps a shaping. Its folder holds

    model/              the reward model; of several the first, from which critics start
    members/1, 2, ...   the other reward models
    rule.yaml           the rule that combines them
    scale.parquet       for every prompt offset.0, sd.0, offset.1, ...: what puts the members on one scale
    shaping.yaml        the shaping of the combined reward
    references.parquet  for every prompt the rewards of SFT answers, a list

A folder with `model/` alone is a plain reward model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from transformers import PreTrainedTokenizerBase

from rlhf_lab.config.combination import Combination
from rlhf_lab.config.registry import named
from rlhf_lab.config.shaping import AgreementPenalty, Shaping
from rlhf_lab.functional import shaping as shapings
from rlhf_lab.functional.combination import combined
from rlhf_lab.models import tokenization
from rlhf_lab.store.records import read_table, write_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# From rewards (N,), prompts and answers as ids, the shaped rewards (N,).
Shaper = Callable[[Floats, Ints, Sequence[Sequence[int]]], Floats]

RULE, SCALE, SHAPING, REFERENCES = "rule.yaml", "scale.parquet", "shaping.yaml", "references.parquet"


@dataclass(frozen=True)
class Proxy:
    """How the rewards of M reward models become the reward that is optimised."""

    members: Sequence[Path]  # folders with `model/`
    rule: Combination | None
    offset: Floats  # (M, Q) by member and prompt_id
    sd: Floats  # (M,) by member
    shaping: Shaping | None
    references: Floats | None  # (Q, K) rewards of K SFT answers, by prompt_id

    @classmethod
    def load(cls, folder: Path) -> Proxy:
        """Load the proxy in `folder`."""
        others = sorted((folder / "members").glob("*"), key=lambda path: int(path.name))
        rule = _read(folder / RULE) if (folder / RULE).exists() else None
        offset, sd = np.zeros((1, 1)), np.ones(1)
        if rule is not None:
            table = read_table(folder / SCALE)
            numbers = range(len(others) + 1)
            offset = np.stack([table[f"offset.{number}"].to_numpy() for number in numbers])
            sd = np.array([table[f"sd.{number}"][0].as_py() for number in numbers])
        shaping = references = None
        if (folder / SHAPING).exists():
            shaping = _read(folder / SHAPING)
            references = np.array(read_table(folder / REFERENCES)["rewards"].to_pylist())
        return cls([folder, *others], rule, offset, sd, shaping, references)

    def on_one_scale(self, rewards: Floats, prompt: Ints) -> Floats:
        """Return rewards (M, N) of answers to prompts (N,) minus the offsets, in SDs; of a single model unchanged."""
        if self.rule is None:
            return rewards
        return (rewards - self.offset[:, prompt]) / self.sd[:, None]

    def combined(self, rewards: Floats, prompt: Ints) -> Floats:
        """Combine the rewards (M, N) of the members into one, (N,)."""
        return rewards[0] if self.rule is None else combined(self.rule, self.on_one_scale(rewards, prompt))

    def shaper(self, writer: PreTrainedTokenizerBase) -> Shaper:
        """Return a function that shapes rewards (N,) of answers, given as ids of `writer`, to prompts (N,)."""
        shaping, references = self.shaping, self.references
        if shaping is None or references is None:
            return lambda reward, prompt, answers: reward
        phrases = shaping.phrases if isinstance(shaping, AgreementPenalty) else []
        phrase_ids = tokenization.token_runs(writer, phrases)

        def shaped(reward: Floats, prompt: Ints, answers: Sequence[Sequence[int]]) -> Floats:
            """Return the shaped rewards, (N,)."""
            tokens = np.array([len(answer) for answer in answers], float)
            has_phrase = tokenization.has_run(answers, phrase_ids)
            shaped_answers = shapings.Answers(reward, tokens, references[prompt], has_phrase)
            return shapings.shaped(shaping, shaped_answers, references)

        return shaped


def write_combination(out: Path, rule: Combination, offset: Floats, sd: Floats) -> None:
    """Write to `out` the rule that combines its members, and what puts them on one scale."""
    _write(out / RULE, rule)
    columns = {"prompt_id": np.arange(offset.shape[1], dtype=np.int32)}
    for number in range(len(sd)):
        columns[f"offset.{number}"] = offset[number]
        columns[f"sd.{number}"] = np.full(offset.shape[1], sd[number])
    write_table(out / SCALE, columns)


def write_shaping(out: Path, shaping: Shaping, references: Floats) -> None:
    """Write to `out` the shaping of its reward, and the rewards of SFT answers (Q, K) that it needs."""
    _write(out / SHAPING, shaping)
    ids = np.arange(len(references), dtype=np.int32)
    write_table(out / REFERENCES, {"prompt_id": ids, "rewards": references.tolist()})


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links where the file system has them, else by copying its files."""

    def link(old: str, new: str) -> None:
        """Link a file, or copy it where links are not possible."""
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)

    shutil.copytree(source, target, copy_function=link)


def _write(path: Path, config: Any) -> None:
    OmegaConf.save({"kind": type(config).__name__, "settings": OmegaConf.structured(config)}, path)


def _read(path: Path) -> Any:
    saved = OmegaConf.load(path)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(named(saved.kind)), saved.settings))
