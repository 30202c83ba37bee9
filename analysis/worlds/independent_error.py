"""World W3: the proxy is utility plus an independent error, whose tail decides what best-of-n comes to (2407.14503).

Utility has an SD of 1. The paper doubles utility instead, so its errors have half their scale here.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from analysis.worlds.world import Size, World, questions

Floats = NDArray[np.float64]

STEPS = (0.02, 0.08)  # of the integrals over utility and over the proxy, which is smoother: in SDs, near 0
EVEN = 8.0  # SDs to which nodes are even; beyond, they are even in log
UTILITY_REACH = 100.0  # how far out utility is integrated: of t10 less than 1e-15 lies beyond
LOWEST, HIGHEST = -1e3, 1e8  # of the proxy; beyond the highest, utility is 0 but for 1e-8
NEGLIGIBLE = 1e-18  # weight of a value of utility
CHUNK = 256  # values of the proxy at a time


class Distribution(Protocol):
    """A frozen distribution of `scipy.stats`."""

    def pdf(self, x: Floats, /) -> Any:
        """Density at `x`."""
        ...

    def sf(self, x: Floats, /) -> Any:
        """Chance to exceed `x`."""
        ...

    def rvs(self, size: Any, random_state: Any) -> Any:
        """Draws of this shape."""
        ...


def student(freedom: float, sd: float = 1.0) -> Distribution:
    """Return Student's t with `freedom` > 2 degrees of freedom, scaled to the SD."""
    return stats.t(freedom, scale=sd * np.sqrt((freedom - 2) / freedom))


UTILITIES: dict[str, Distribution] = {"normal": stats.norm(), "t10": student(10)}
ERRORS: dict[str, Distribution] = {  # of 2407.14503, figure B.3, at half their scale
    "normal": stats.norm(scale=0.5),
    "lognormal": stats.lognorm(np.log(2), loc=-0.5, scale=0.5),
    "t5": student(5, 0.5),
    "t3": student(3, 0.5),
    "Levy": stats.levy(scale=0.5),
}


def w3(rng: np.random.Generator, size: Size, utility: Distribution, error: Distribution) -> World:
    """Return a world whose gold is `utility` and whose proxy is utility plus `error`, both drawn for every answer."""
    shape = (size.prompts, size.answers)
    gold = utility.rvs(size=shape, random_state=rng)
    return World(gold + error.rvs(size=shape, random_state=rng), gold, questions(size))


def w3_best_of_n(n: NDArray, utility: Distribution, error: Distribution) -> tuple[Floats, Floats]:
    """Return the expected utility of best-of-n for real n >= 1, (K,), and its distance from the integral at twice the
    steps, (K,).

    It is n times the integral of E[V; V + X = s] F(s)^(n-1) over s, where F is the distribution of V + X.
    """
    fine, coarse = (_by_quadrature(np.asarray(n, dtype=float), utility, error, times) for times in (1, 2))
    return fine, np.abs(fine - coarse)


def _by_quadrature(n: Floats, utility: Distribution, error: Distribution, times: int) -> Floats:
    """Return the integral by the trapezoid rule at `times` the steps; it converges exponentially, as all is smooth."""
    proxy, width = _nodes(LOWEST, HIGHEST, times * STEPS[1])
    value, weight = _nodes(-UTILITY_REACH, UTILITY_REACH, times * STEPS[0])
    weight = weight * utility.pdf(value)
    value, weight = value[weight > NEGLIGIBLE], weight[weight > NEGLIGIBLE]
    carried, above = np.empty_like(proxy), np.empty_like(proxy)  # E[V; V + X = s], P(V + X > s)
    for start in range(0, len(proxy), CHUNK):
        rest = proxy[start : start + CHUNK, None] - value
        carried[start : start + CHUNK] = error.pdf(rest) @ (weight * value)
        above[start : start + CHUNK] = error.sf(rest) @ weight
    reach = special.xlog1py(n[:, None] - 1, -np.clip(above, 0, 1))
    return n * (np.exp(reach) @ (carried * width))


def _nodes(lo: float, hi: float, step: float) -> tuple[Floats, Floats]:
    """Return the places at which an integral from `lo` to `hi` is evaluated, and the weight of each."""
    first, last = (EVEN * np.arcsinh(end / EVEN) / step for end in (lo, hi))
    even = np.arange(np.floor(first), np.ceil(last) + 1) * step / EVEN
    return EVEN * np.sinh(even), step * np.cosh(even)
