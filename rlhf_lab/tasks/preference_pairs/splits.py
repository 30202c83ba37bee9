"""The comparisons of a task, free of control tokens, split by question into training and held-out ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from rlhf_lab.config.tasks import PairFile
from rlhf_lab.tasks.preference_pairs.formats import Comparison
from rlhf_lab.tasks.preference_pairs.reader import read

PAD, EOS = "<pad>", "<eos>"
# A text with one of these could imitate another role.
CONTROL = (PAD, EOS, "<system>", "<user>", "<assistant>")
SPLITS = ("train", "heldout")

SplitComparison = tuple[Comparison, str]  # a comparison and its split


class Loaded(NamedTuple):
    """Comparisons with their splits, and the number of rows that were dropped, by reason."""

    pairs: list[SplitComparison]
    dropped: Counter[str]


def load_comparisons(config: PairFile) -> Loaded:
    """Read and split the comparisons; raise ValueError if they cannot be read or leave a split empty."""
    source = read(config.path, config.revision)
    pairs = [pair for pair in source.comparisons if not _holds_control_token(pair)]
    dropped = Counter(source.dropped)
    dropped["an answer or prompt holds a control token"] += len(source.comparisons) - len(pairs)
    splits = [(pair, split(pair, config.seed, config.heldout_share)) for pair in pairs]
    check_split(splits, dropped, config)
    return Loaded(splits, dropped)


def check_split(pairs: Iterable[SplitComparison], dropped: Counter[str], config: PairFile) -> None:
    """Raise ValueError, with the numbers of dropped rows, if a split has no comparison."""
    counts = Counter(name for _, name in pairs)
    if min(counts[name] for name in SPLITS) == 0:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in dropped.items() if count)
        raise ValueError(
            f"{config.path}: {counts['train']} training and {counts['heldout']} held-out comparisons, "
            f"expected some of both: change task.heldout_share={config.heldout_share} or give more questions"
            + (f" (dropped: {reasons})" if reasons else "")
        )


def differ_early(pairs: Iterable[SplitComparison], limit_tokens: int) -> bool:
    """Return whether some pair differs in its first bytes, and so in its first tokens: a token has a byte or more."""
    return any(
        pair.chosen.encode()[:limit_tokens] != pair.rejected.encode()[:limit_tokens] for pair, _ in pairs
    )


def opening(pair: Comparison) -> str:
    """Return the user's first text in lower case and single spaces; dialogues that share it are one question."""
    texts = (message["content"] for message in pair.messages if message["role"] == "user")
    first = next(text for text in texts if text)
    return " ".join(first.lower().split())


def split(pair: Comparison, seed: int, heldout_share: float) -> str:
    """Return the split of a comparison, by a hash of its question, so that a question is never in both."""
    digest = hashlib.sha256(f"{seed}:{opening(pair)}".encode()).hexdigest()
    return "heldout" if int(digest[:8], 16) / 16**8 < heldout_share else "train"


def _holds_control_token(pair: Comparison) -> bool:
    texts = [*(message["content"] for message in pair.messages), pair.chosen, pair.rejected]
    return any(token in text for token in CONTROL for text in texts)
