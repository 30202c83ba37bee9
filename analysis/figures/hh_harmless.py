"""The same on real preference data; gold is a larger reward model fitted to human choices."""

from analysis.figures.gao2022_fig1 import make

NAME = "hh_harmless"
SWEEPS = ("hh_harmless",)

__all__ = ["NAME", "SWEEPS", "make"]
