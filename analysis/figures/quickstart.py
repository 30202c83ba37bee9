"""The same on the quickstart's runs, small enough for minutes on two cores."""

from analysis.figures.gao2022_fig1 import make

NAME = "quickstart"
SWEEPS = ("quickstart",)

__all__ = ["NAME", "SWEEPS", "make"]
