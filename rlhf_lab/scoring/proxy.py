"""What the folder of a proxy holds: one reward model, or several with how they are combined, perhaps a shaping.

    model/              the reward model; of several the first, from which critics start
    members/1, 2, ...   the others
    rule.yaml           how they are combined
    scale.parquet       of every prompt: offset.0, sd.0, offset.1, ...: what puts the members on one scale
    shaping.yaml        what is made of that
    references.parquet  of every prompt: rewards of SFT answers to it, a list

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
Shaper = Callable[[Floats, Ints, Sequence[Sequence[int]]], Floats]

RULE, SCALE, SHAPING, REFERENCES = "rule.yaml", "scale.parquet", "shaping.yaml", "references.parquet"


@dataclass(frozen=True)
class Proxy:
    """How the rewards of a folder's models become what is optimised."""

    members: Sequence[Path]  # folders with `model/`
    rule: Combination | None
    offset: Floats  # (M, Q) of each member and prompt_id
    sd: Floats  # (M,)
    shaping: Shaping | None
    references: Floats | None  # (Q, K) rewards of SFT answers, by prompt_id

    @classmethod
    def load(cls, folder: Path) -> Proxy:
        """What `folder` holds."""
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
        """(M, N): rewards of the members for answers to these prompts, less their offset, in their SDs; those of
        a single model as they are.
        """
        if self.rule is None:
            return rewards
        return (rewards - self.offset[:, prompt]) / self.sd[:, None]

    def combined(self, rewards: Floats, prompt: Ints) -> Floats:
        """(N,): one reward of the members' (M, N)."""
        return rewards[0] if self.rule is None else combined(self.rule, self.on_one_scale(rewards, prompt))

    def shaper(self, writer: PreTrainedTokenizerBase) -> Shaper:
        """What gives the shaped reward (N,) of rewards (N,) for answers, ids of `writer`, to prompts (N,)."""
        shaping, references = self.shaping, self.references
        if shaping is None or references is None:
            return lambda reward, prompt, answers: reward
        phrases = shaping.phrases if isinstance(shaping, AgreementPenalty) else []
        wanted = tokenization.token_runs(writer, phrases)

        def shaped(reward: Floats, prompt: Ints, answers: Sequence[Sequence[int]]) -> Floats:
            tokens = np.array([len(answer) for answer in answers], float)
            asked = shapings.Answers(
                reward, tokens, references[prompt], tokenization.has_run(answers, wanted)
            )
            return shapings.shaped(shaping, asked, references)

        return shaped


def write_combination(out: Path, rule: Combination, offset: Floats, sd: Floats) -> None:
    """Say in `out` how its members are combined."""
    _write(out / RULE, rule)
    columns = {"prompt_id": np.arange(offset.shape[1], dtype=np.int32)}
    for number, (level, unit) in enumerate(zip(offset, sd, strict=True)):
        columns |= {f"offset.{number}": level, f"sd.{number}": np.full(len(level), unit)}
    write_table(out / SCALE, columns)


def write_shaping(out: Path, shaping: Shaping, references: Floats) -> None:
    """Say in `out` how its reward is shaped, given rewards of SFT answers (Q, K)."""
    _write(out / SHAPING, shaping)
    ids = np.arange(len(references), dtype=np.int32)
    write_table(out / REFERENCES, {"prompt_id": ids, "rewards": references.tolist()})


def link_tree(source: Path, target: Path) -> None:
    """The files of `source` in `target` without copying what they hold, where the file system can."""

    def link(old: str, new: str) -> None:
        """A hard link, or a copy where there can be none."""
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)

    shutil.copytree(source, target, copy_function=link)


def _write(path: Path, what: Any) -> None:
    OmegaConf.save({"kind": type(what).__name__, "settings": OmegaConf.structured(what)}, path)


def _read(path: Path) -> Any:
    found = OmegaConf.load(path)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(named(found.kind)), found.settings))
