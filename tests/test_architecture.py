"""The rooms of docs/architecture.md: a room is a folder, and a file imports only from its own room and lower ones."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

TOP = Path(__file__).parents[1]
HEAVY = {"torch", "trl", "transformers", "datasets", "accelerate", "wandb"}

# Each room with the packages that its files may not import, not even inside functions; lower rooms stand first.
ROOMS = {
    "rlhf_lab.config": HEAVY | {"hydra", "pandas"},
    "rlhf_lab.functional": {"trl", "transformers", "datasets", "wandb", "hydra"},
    "rlhf_lab.store": {"torch", "trl", "transformers", "datasets", "hydra"},
    "rlhf_lab.tasks": {"trl", "wandb", "hydra"},
    "rlhf_lab.models": {"trl", "wandb", "hydra"},
    "rlhf_lab.scoring": {"trl", "wandb", "hydra"},
    "rlhf_lab.gold": {"trl", "wandb", "hydra"},
    "rlhf_lab.stages": {"wandb", "hydra"},
    "rlhf_lab.pipeline": HEAVY | {"hydra"},
    "rlhf_lab.commands": HEAVY,
    "rlhf_lab.probes": {"trl", "wandb", "hydra"},
    "analysis.statistics": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.best_of_n": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.runs": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.reward_models": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.behaviour": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.worlds": HEAVY | {"hydra", "omegaconf", "matplotlib"},
    "analysis.drawing": HEAVY | {"hydra", "omegaconf"},
    "analysis.figures": HEAVY | {"hydra", "omegaconf"},
    "analysis.commands": HEAVY | {"hydra", "omegaconf"},
}
ORDER = list(ROOMS)
SIDE_BY_SIDE = [  # rooms that stand on one floor: neither imports the other
    {"rlhf_lab.functional", "rlhf_lab.store"},
    {"rlhf_lab.tasks", "rlhf_lab.models"},
    {"analysis.reward_models", "analysis.behaviour", "analysis.worlds"},
]
LIGHT = {  # rooms whose files import nothing heavy at the top: a plan is made without it
    "rlhf_lab.config",
    "rlhf_lab.store",
    "rlhf_lab.stages",
    "rlhf_lab.pipeline",
    "rlhf_lab.commands",
    "rlhf_lab.probes",
}
DOORS = {  # what analysis may import of rlhf_lab
    "rlhf_lab.store.records": "rows and records",
    "rlhf_lab.store.upkeep": "the store as a whole, for `rlhf-runs verify` and `prune`",
    "rlhf_lab.functional.divergence": "the KL of best-of-n",
    "rlhf_lab.functional.intervals": "intervals that probes need too",
    "rlhf_lab.commands.terminal": "what every command prints with",
}


def _modules():
    files = [path for package in ("rlhf_lab", "analysis") for path in (TOP / package).rglob("*.py")]
    for path in sorted(files):
        parts = path.relative_to(TOP).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(_modules())
TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


def room(module):
    return next((name for name in ORDER if f"{module}.".startswith(f"{name}.")), None)


def is_stage(module):
    names = [target for node in TREES[module].body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(name, ast.Name) and name.id == "VERSION" for name in names)


def imports(module, only_top=False):
    """Full names of what a module imports (`from a import b` gives a.b where that is a module, else a)."""
    body = TREES[module].body
    typing_only = {id(n) for node in body if _for_typing(node) for n in ast.walk(node)}
    nodes = [n for n in (body if only_top else ast.walk(TREES[module])) if id(n) not in typing_only]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def _for_typing(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def reached(start):
    """Every module of ours that `start` imports, directly or through others, at the top or inside functions."""
    queue, seen = [start], set()
    while queue:
        module = queue.pop()
        if module in seen or module not in MODULES:
            continue
        seen.add(module)
        parents = [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
        queue += [*imports(module), *parents]
    return seen


def test_every_file_is_in_a_room():
    outside = {module for module in MODULES if room(module) is None}
    assert outside == {"rlhf_lab", "rlhf_lab.__main__", "analysis"}
    counts = {name: sum(room(module) == name for module in MODULES) for name in ORDER}
    assert sum(counts.values()) >= 200 and all(count >= 3 for count in counts.values()), counts


def test_a_file_imports_only_from_its_room_and_lower_ones():
    wrong = []
    for module in MODULES:
        here = room(module)
        if here is None:
            continue
        for name in imports(module):
            package = name.partition(".")[0]
            if package in ROOMS[here]:
                wrong.append(f"{module} imports {name}")
            if package in ("rlhf_lab", "analysis") and not _may_enter(here, name):
                wrong.append(f"{module} ({here}) imports {name}")
    assert not wrong, "\n".join(wrong)


def _may_enter(here, name):
    there = room(name)
    if there is None or name not in MODULES:
        return False
    if here.startswith("analysis") and there.startswith("rlhf_lab"):
        return name in DOORS
    beside = any({here, there} <= floor for floor in SIDE_BY_SIDE) and here != there
    return ORDER.index(there) <= ORDER.index(here) and not beside


def test_no_files_import_each_other_in_a_circle():
    graph = {module: {name for name in imports(module) if name in MODULES} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # CycleError names the circle


JOINT = "rlhf_lab.stages.given_reward"  # runs the trainers of other stages on gold or on noise


def test_a_stage_imports_no_other_stage():
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room(module) == "rlhf_lab.stages" and module != JOINT
        for name in imports(module)
        if name in MODULES and name != module and room(name) == "rlhf_lab.stages" and is_stage(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_heavy_is_imported_at_the_top_of_what_plans():
    light = [module for module in MODULES if room(module) in LIGHT]
    stages = [module for module in light if room(module) == "rlhf_lab.stages"]
    inside = {module for module in stages if not is_stage(module) and module != "rlhf_lab.stages.registry"}
    wrong = []
    for module in set(light) - inside:  # the inside of a stage is imported inside a function
        tops = {name.partition(".")[0] for name in imports(module, only_top=True)}
        wrong += [f"{module} imports {name}" for name in tops & (HEAVY | {"pandas"})]
    assert not wrong, "\n".join(wrong)


def test_no_policy_stage_reaches_gold():
    policies = [module for module in MODULES if module.startswith("rlhf_lab.stages.policy")]
    others = [f"rlhf_lab.stages.{name}" for name in ("second_turns", "deference", "intervention")]
    assert len(policies) >= 10 and set(others) <= set(MODULES)
    for start in (*policies, *others):
        found = {module for module in reached(start) if room(module) == "rlhf_lab.gold"}
        assert not found, f"{start} reaches {sorted(found)}"


def test_one_module_brings_gold_and_the_training_of_a_policy_together():
    both = [
        module
        for module in MODULES
        if room(module) == "rlhf_lab.stages"
        and any(room(name) == "rlhf_lab.gold" for name in reached(module))
        and any(name.startswith("rlhf_lab.stages.policy") for name in reached(module))
    ]
    assert both == [JOINT]


def test_the_search_for_gold_can_find_it():
    for stage in ("rlhf_lab.stages.preferences", "rlhf_lab.stages.score"):
        assert any(room(module) == "rlhf_lab.gold" for module in reached(stage)), stage
