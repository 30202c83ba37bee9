"""The floors of docs/architecture.md: who may import whom, at the top of a file and inside its functions."""

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
FILES = sorted(path for package in ("rlhf_lab", "analysis") for path in (TOP / package).rglob("*.py"))
HEAVY = {"torch", "trl", "transformers", "datasets", "accelerate", "wandb"}

FLOOR_0 = (
    *("config", "comparisons", "redaction", "store", "leases", "integrity", "upkeep"),
    *("sources", "records", "sweep_records", "tables", "metrics", "checkpoints", "interrupts", "tracking"),
)
DOORS = ("rlhf_lab.records", "rlhf_lab.upkeep", "rlhf_lab.divergence")  # between the store and analysis
FLOORS = [  # the first pattern that a module's name starts with says its floor
    ("rlhf_lab.commands", 4),
    ("rlhf_lab.__main__", 4),
    ("rlhf_lab.probes", 6),
    *((f"rlhf_lab.{name}", 3) for name in ("pipeline", "proxies", "nodes")),
    ("rlhf_lab.execution", 3),
    ("rlhf_lab.stages", 2),
    *((f"rlhf_lab.{name}", 0) for name in FLOOR_0),
    ("analysis", 5),
    ("rlhf_lab", 1),
]
FORBIDDEN = {  # floor -> packages that its files may not import, not even inside functions
    0: {"torch", "trl", "transformers", "datasets"},
    1: {"trl", "wandb", "hydra"},
    2: {"hydra", "wandb"},
    3: HEAVY | {"hydra"},
    4: HEAVY,
    5: HEAVY | {"hydra", "omegaconf"},
    6: {"trl", "hydra", "wandb"},
}
LIGHT = (0, 2, 3, 4, 6)  # floors whose files import nothing heavy at the top: a plan is made without it


def name_of(path):
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def floor(module):
    return next(number for start, number in FLOORS if f"{module}.".startswith(f"{start}."))


def imports(module, only_top=False):
    """Full names of what a module imports (`from a import b` gives a.b where that is a module, else a)."""
    tree = ast.parse(MODULES[module].read_text())
    typing_only = {id(n) for node in tree.body if _for_typing(node) for n in ast.walk(node)}
    nodes = [n for n in (tree.body if only_top else ast.walk(tree)) if id(n) not in typing_only]
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


def test_every_file_has_a_floor():
    counts = {number: sum(floor(module) == number for module in MODULES) for number in range(7)}
    assert len(MODULES) == sum(counts.values()) >= 60 and all(count >= 2 for count in counts.values()), counts
    for start, _ in FLOORS:
        assert any(f"{module}.".startswith(f"{start}.") for module in MODULES), f"{start} is gone"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_from_lower_floors(module):
    here = floor(module)
    for name in imports(module):
        package = name.partition(".")[0]
        assert package not in FORBIDDEN[here], f"{module} imports {name}"
        if package not in ("rlhf_lab", "analysis") or name == "rlhf_lab":
            continue
        assert name in MODULES, f"{module} imports {name}, which is not there"
        assert floor(name) <= here, f"{module} (floor {here}) imports {name} (floor {floor(name)})"
        if here == 2:
            assert not _another_stage(module, name), f"the stage {module} imports the stage {name}"
        if here == 5:
            assert package == "analysis" or name in DOORS, f"{module} imports {name}"


def _another_stage(module, name):
    """A stage may be a folder: what lies beside it there is its own."""
    return floor(name) == 2 and hasattr_version(name) and name != module


def hasattr_version(module):
    return "\nVERSION = " in MODULES[module].read_text()


@pytest.mark.parametrize("module", [module for module in MODULES if floor(module) in LIGHT])
def test_nothing_heavy_is_imported_at_the_top(module):
    if module.startswith("rlhf_lab.stages") and not hasattr_version(module):
        return  # the inside of a stage, itself imported inside a function
    tops = {name.partition(".")[0] for name in imports(module, only_top=True)}
    assert not tops & (HEAVY | {"pandas", "rlhf_lab.gold"}), f"{module} imports {tops & HEAVY}"


def test_no_policy_stage_reaches_gold():
    policies = [module for module in MODULES if module.startswith("rlhf_lab.stages.policy")]
    assert len(policies) >= 3
    others = ("second_turns", "deference", "intervention")
    for start in (*policies, *(f"rlhf_lab.stages.{name}" for name in others)):
        assert "rlhf_lab.gold" not in {name[:13] for name in reached(start)}, f"{start} reaches gold"


def test_the_search_for_gold_can_find_it():
    for stage in ("rlhf_lab.stages.preferences", "rlhf_lab.stages.score"):
        assert any(name.startswith("rlhf_lab.gold") for name in reached(stage)), stage


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


def test_files_and_functions_stay_readable():
    long = {
        module: text
        for module, text in ((m, p.read_text()) for m, p in MODULES.items())
        if text.count("\n") > 400
    }
    assert not long, f"over 400 lines: {long}"
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, f"{module}.{node.name} has over 70 lines"
