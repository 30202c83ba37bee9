"""Jobs of a sweep composed by Hydra, as few times as their options differ.

Options (`rm=3k`) say which files are merged; values (`rm.lr=1e-3`) are set on what comes out. So jobs that choose the
same options share one composition, which is most of the time that planning a sweep takes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException


class Composed(NamedTuple):
    """What the overrides of a job come to."""

    config: DictConfig  # without Hydra's own part
    hydra: DictConfig


class Composer:
    """Composes jobs under the overrides of Hydra's own part that `master` was composed with."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._chosen: dict[tuple[str, ...], Composed] = {}  # by the options that were chosen

    def compose(self, overrides: Sequence[str]) -> Composed:
        """What Hydra composes of a job's overrides; raises as Hydra does where it cannot."""
        parsed = self._parser.parse_overrides(list(overrides))
        values = [one for one in parsed if not self._chooses(one)]
        if any(one.type is not OverrideType.CHANGE or one.is_hydra_override() for one in values):
            return self._whole(overrides)  # what is added or removed depends on what was set before
        options = tuple(str(one.input_line) for one in parsed if self._chooses(one))
        if options not in self._chosen:
            self._chosen[options] = self._whole(options)
        chosen = self._chosen[options]
        config = copy.deepcopy(chosen.config)
        try:
            for one in values:
                OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:
            return self._whole(overrides)  # it fails there too, in Hydra's words
        return Composed(config, chosen.hydra)

    def _chooses(self, override: Override) -> bool:
        """Whether it names an option, not a value."""
        return override.package is not None or override.key_or_group in self._master.hydra.runtime.choices

    def _whole(self, overrides: Sequence[str]) -> Composed:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        hydra = config.hydra
        with open_dict(config):
            del config["hydra"]
        return Composed(config, hydra)
