"""The devices of this machine."""

from __future__ import annotations


def check(name: str, given: str = "runtime.device=") -> None:
    """ValueError when torch finds no device of this `name` here; torch is imported for all but cpu.

    `given` is what the user wrote before the name.
    """
    if name == "cpu":
        return
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        there.append("mps")
    if name not in there:
        raise ValueError(
            f"{given}{name}: torch {torch.__version__} finds no such device here, only "
            f"{', '.join(there)}: choose one of them, or install torch for your accelerator"
        )
