"""One line for what keeps a store from being written: full, read-only, forbidden."""

from __future__ import annotations

import errno
import os

GOES_ON = "nothing made is lost; then the same command goes on"
FULL = f"free some (rlhf-runs prune shows what can go); {GOES_ON}"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: f"make it writable, or give another place with runtime.store=...; {GOES_ON}",
    errno.EACCES: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
    errno.EPERM: f"get permission, or give another place with runtime.store=...; {GOES_ON}",
}
TOLD_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # safetensors and torch raise no OSError for these


def obstacle(error: BaseException) -> str | None:
    """What is in the way and what to do about it, if that is what `error` is about."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in REMEDIES:
        number = next((n for n in TOLD_IN_WORDS if os.strerror(n) in str(error)), None)
    if number is None:
        return None
    where = getattr(error, "filename", None) or "the store"
    return f"{where}: {os.strerror(number)}: {REMEDIES[number]}"
