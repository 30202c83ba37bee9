"""How KL was estimated, and so what every axis of it is called."""

from __future__ import annotations

from collections.abc import Iterable

TIE_AWARE = "tie-aware plug-in"  # chances of the answers of a table, equal scores sharing theirs
EXACT = "exact per position"  # over the whole vocabulary, at the positions of sampled answers


def kl_axis(estimators: Iterable[str]) -> str:
    """The label of an axis of KL on which curves by these `estimators` lie."""
    return f"KL from SFT (nats): {', '.join(dict.fromkeys(estimators))}"
