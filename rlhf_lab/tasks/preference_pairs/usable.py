"""The comparisons that a task can be made of: read, free of control tokens, on both sides of the split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from rlhf_lab.config.tasks import PairFile
from rlhf_lab.tasks.preference_pairs.reader import read
from rlhf_lab.tasks.preference_pairs.rows import Comparison

PAD, EOS = "<pad>", "<eos>"
CONTROL = (PAD, EOS, "<system>", "<user>", "<assistant>")  # text that holds one could speak in another's name
SPLITS = ("train", "heldout")

Sided = tuple[Comparison, str]  # a comparison and its side


class Usable(NamedTuple):
    """The comparisons with their sides, and how many rows were dropped for which reason."""

    pairs: list[Sided]
    dropped: Counter[str]


def usable(config: PairFile) -> Usable:
    """What `config`'s source holds; ValueError when it cannot be read or leaves a side empty."""
    found = read(config.path, config.revision)
    pairs = [pair for pair in found.comparisons if not _speaks_control(pair)]
    dropped = Counter(found.dropped)
    dropped["an answer or prompt holds a control token"] += len(found.comparisons) - len(pairs)
    sided = [(pair, split(pair, config.seed, config.heldout_share)) for pair in pairs]
    check_split(sided, dropped, config)
    return Usable(sided, dropped)


def check_split(pairs: Iterable[Sided], dropped: Counter[str], config: PairFile) -> None:
    """ValueError when a side has no comparison; it counts what was dropped."""
    counts = Counter(side for _, side in pairs)
    if min(counts[side] for side in SPLITS) == 0:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in dropped.items() if count)
        raise ValueError(
            f"{config.path}: {counts['train']} training and {counts['heldout']} held-out comparisons, "
            f"expected some of both: change task.heldout_share={config.heldout_share} or give more questions"
            + (f" (dropped: {reasons})" if reasons else "")
        )


def differ_early(pairs: Iterable[Sided], limit_tokens: int) -> bool:
    """Whether some pair differs in its first bytes, and so in its first tokens: each holds a byte or more."""
    return any(
        pair.chosen.encode()[:limit_tokens] != pair.rejected.encode()[:limit_tokens] for pair, _ in pairs
    )


def opening(pair: Comparison) -> str:
    """What the user says first, case and spacing aside: dialogues that share it are one question."""
    first = next(m["content"] for m in pair.messages if m["role"] == "user" and m["content"])
    return " ".join(first.lower().split())


def split(pair: Comparison, seed: int, heldout_share: float) -> str:
    """The side of a comparison: by a hash of its question, so that all that open alike fall on one side."""
    digest = hashlib.sha256(f"{seed}:{opening(pair)}".encode()).hexdigest()
    return "heldout" if int(digest[:8], 16) / 16**8 < heldout_share else "train"


def _speaks_control(pair: Comparison) -> bool:
    texts = [*(message["content"] for message in pair.messages), pair.chosen, pair.rejected]
    return any(token in text for token in CONTROL for text in texts)
