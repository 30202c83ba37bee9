"""What Hydra composes from, and the jobs of a sweep composed as few times as their options differ.

Options (`rm=3k`) say which files are merged; values (`rm.lr=1e-3`) are set on the result. So jobs that choose the same
options share one composition, which is most of the time that planning a sweep takes.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import BooleanNode, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlhf_lab.commands import hydra_internals, options
from rlhf_lab.commands.errors import Mistake
from rlhf_lab.config import registry
from rlhf_lab.config.experiment import Experiment


@dataclass
class PlannedSweeperConf:
    """The keys of `hydra.sweeper`."""

    _target_: str = hydra_internals.SWEEPER
    # key -> values, as on the command line
    params: dict[str, str] = field(default_factory=dict)
    # overrides such as "rm=3k,25k policy=bon"; a sweep is the union of the products of each cell with the params
    cells: list[str] = field(default_factory=list)


class PluginFolders(SearchPathPlugin):
    """Adds the folders of YAML options that plugins bring."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append every plugin's folder."""
        for path in options.load_plugins():
            search_path.append(options.ENTRY_POINTS, f"file://{path}")


def chosen(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the option that was chosen in each group that a user chooses in.

    Groups with a slash in their name are left out: Hydra's own, and the files that options are made of.
    """
    return {
        str(group): str(option)
        for group, option in reversed(list(choices.items()))
        if option is not None and "/" not in str(group)
    }


def register(studies: Collection[str] | None = None) -> None:
    """Tell Hydra all that `rlhf-lab` composes from; of the named studies, only those in `studies` are read if given.

    The files of `sweeps/` are options of the group `experiment`, beside those of `conf/experiment/`.
    """
    options.load_plugins()
    Plugins.instance().register(PluginFolders)
    hydra_internals.register_sources()
    store = ConfigStore.instance()
    store.store(name="experiment_schema", node=Experiment)
    store.store(group="hydra/sweeper", name="planned", node=PlannedSweeperConf)
    for group, schemas in registry.GROUPS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    for path in sorted(options.folder("sweeps").glob("*.yaml")):
        node = OmegaConf.load(path) if studies is None or path.stem in studies else {}
        store.store(group="experiment", name=path.stem, node=node, package="_global_")
    for number in options.REPLICATES:
        seeds = {part: {"seed": number} for part in ("preferences", "rm", "policy")}
        store.store(group="replicate", name=f"r{number}", node=seeds, package="_global_")


def refuse_number_for_flag(config: DictConfig, override: Override) -> None:
    """Refuse a number or text that OmegaConf would take for true or false; Mistake names the key."""
    key, value = override.key_or_group, override.value()
    parent, _, name = key.rpartition(".")
    part = OmegaConf.select(config, parent) if parent else config
    node = part._get_node(name) if isinstance(part, DictConfig) and name in part else None
    if isinstance(node, BooleanNode) and not isinstance(value, bool):
        raise Mistake(f"{key}: expected true or false, got {value!r}")


class Composed(NamedTuple):
    """The configuration of a job."""

    config: DictConfig  # of the experiment, without Hydra's part
    hydra: DictConfig


class Composer:
    """Composes jobs under the overrides of Hydra's own part with which `master` was composed."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._parser = OverridesParser.create(config_loader=loader)
        self._composed: dict[tuple[str, ...], Composed] = {}  # by the options that are chosen

    def compose(self, overrides: Sequence[str]) -> Composed:
        """Return what Hydra composes of a job's overrides; raises as Hydra does where it cannot."""
        parsed = self._parser.parse_overrides(list(overrides))
        values = [override for override in parsed if not self._chooses_option(override)]
        if any(value.type is not OverrideType.CHANGE or value.is_hydra_override() for value in values):
            return self._compose(overrides)  # what is added or removed depends on what was set before
        choices = tuple(str(override.input_line) for override in parsed if self._chooses_option(override))
        if choices not in self._composed:
            self._composed[choices] = self._compose(choices)
        common = self._composed[choices]
        config = copy.deepcopy(common.config)
        try:
            for value in values:
                refuse_number_for_flag(config, value)
                OmegaConf.update(config, value.key_or_group, value.value(), merge=True)
        except OmegaConfBaseException:
            return self._compose(overrides)  # it fails there too, with Hydra's message
        return Composed(config, common.hydra)

    def _chooses_option(self, override: Override) -> bool:
        """Return whether an override names an option, not a value."""
        return override.package is not None or override.key_or_group in self._master.hydra.runtime.choices

    def _compose(self, overrides: Sequence[str]) -> Composed:
        config = self._loader.load_sweep_config(self._master, list(overrides))
        hydra = config.hydra
        with open_dict(config):
            del config["hydra"]
        return Composed(config, hydra)
