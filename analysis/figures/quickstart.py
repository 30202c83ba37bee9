"""Figure 1 of Gao et al. on the quickstart's runs, which take minutes on two cores."""

from analysis.figures.gao2022_fig1 import make

NAME = "quickstart"
SWEEPS = ("quickstart",)

__all__ = ["NAME", "SWEEPS", "make"]
