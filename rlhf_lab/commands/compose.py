"""What Hydra composes from: the schema, `conf/`, the sweeps, the replicates, and whatever plugins bring."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins import structured_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from rlhf_lab.commands import foreign, plugins
from rlhf_lab.commands.folders import folder
from rlhf_lab.config import registry
from rlhf_lab.config.experiment import Experiment

REPLICATES = (*range(10), *range(100, 120))


@dataclass
class PlannedSweeperConf:
    """What `hydra.sweeper` takes."""

    _target_: str = "hydra_plugins.rlhf_lab.PlannedSweeper"
    # key -> values as on the command line; cells such as "rm=3k,25k policy=bon": a sweep is the union of the
    # products of each cell with the params
    params: dict[str, str] = field(default_factory=dict)
    cells: list[str] = field(default_factory=list)


class PluginFolders(SearchPathPlugin):
    """Adds the folders of YAML options that plugins bring."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append every plugin's folder."""
        for path in plugins.load():
            search_path.append(plugins.GROUP, f"file://{path}")


class StructuredConfigSource(structured_config_source.StructuredConfigSource):
    """The schemas, which compositions share: Hydra copies its sources for each, and their whole store with them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> StructuredConfigSource:
        return self  # nothing is changed: what is loaded is a copy


def chosen(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return the option that was chosen in each group that a user chooses in.

    Groups with a slash in their name are left out: Hydra's own, and the files that options are made of.
    """
    return {
        str(group): str(option)
        for group, option in reversed(choices.items())
        if option is not None and "/" not in str(group)
    }


def register(studies: Collection[str] | None = None) -> None:
    """Tell Hydra all that `rlhf-lab` composes from; of the named studies, only those in `studies` are read if given.

    The files of `sweeps/` are options of the group `experiment`, beside those of `conf/experiment/`.
    """
    plugins.load()
    Plugins.instance().register(PluginFolders)
    foreign.register()
    SourcesRegistry.instance().types["structured"] = StructuredConfigSource
    store = ConfigStore.instance()
    store.store(name="experiment_schema", node=Experiment)
    store.store(group="hydra/sweeper", name="planned", node=PlannedSweeperConf)
    for group, schemas in registry.GROUPS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    for path in sorted(folder("sweeps").glob("*.yaml")):
        node = OmegaConf.load(path) if studies is None or path.stem in studies else {}
        store.store(group="experiment", name=path.stem, node=node, package="_global_")
    for number in REPLICATES:
        seeds = {part: {"seed": number} for part in ("preferences", "rm", "policy")}
        store.store(group="replicate", name=f"r{number}", node=seeds, package="_global_")
