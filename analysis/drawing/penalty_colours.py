"""Colours of penalties: viridis over coefficients, warm colours for other kinds."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.typing import ColorType

from analysis.drawing import theme
from analysis.runs.arms import Arm
from analysis.runs.penalties import PLAIN_PENALTY, coefficient, kind


def colours(arms: Sequence[Arm]) -> dict[str, ColorType]:
    """Title -> colour: viridis over the coefficients of a KL penalty in the reward, dark is none; others warm."""
    plain = [arm.title for arm in arms if kind(arm) == PLAIN_PENALTY or not coefficient(arm)]
    others = [arm.title for arm in arms if arm.title not in plain]
    warm = [theme.WARM[i % len(theme.WARM)] for i in range(len(others))]
    return dict(zip([*plain, *others], [*theme.sizes(len(plain)), *warm], strict=True))
