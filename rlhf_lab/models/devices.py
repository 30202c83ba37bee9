"""The devices of this machine, looked up without importing torch for the CPU."""

from __future__ import annotations


def check(name: str, given: str = "runtime.device=") -> None:
    """Raise ValueError if torch finds no device called `name`; `given` is what the user wrote before the name."""
    if name == "cpu":
        return
    import torch

    known = ["cpu"]
    if torch.cuda.is_available():
        known += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        known.append("mps")
    if name not in known:
        raise ValueError(
            f"{given}{name}: torch {torch.__version__} finds no such device here, only "
            f"{', '.join(known)}: choose one of them, or install torch for your accelerator"
        )
