"""The docs name what exists: studies, figures, options, files; every committed figure has its page and its claims."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
CONF = TOP / "conf"
PAGES = {str(path.relative_to(TOP)): path.read_text() for path in [TOP / "README.md", *DOCS.rglob("*.md")]}
COMMITTED = sorted(
    path.name.removesuffix(".claims.json") for path in (DOCS / "figures").glob("*.claims.json")
)
STUDIES = {path.stem for path in [*TOP.glob("sweeps/*.yaml"), *CONF.glob("experiment/*.yaml")]}


def named(pattern):
    """(page, what is named) wherever a page says `pattern`."""
    return [(page, name) for page, text in PAGES.items() for name in re.findall(pattern, text)]


def test_every_named_study_exists():
    studies = [(page, name) for page, name in named(r"experiment=(\w+)") if name not in ("NAME", "mine")]
    assert len(studies) > 30
    assert [(page, name) for page, name in studies if name not in STUDIES] == []


def test_every_option_on_a_command_line_exists():
    """`group=option` in lines that begin with rlhf-lab."""
    lines = [(page, line) for page, line in named(r"(?m)^(?:\$ )?(rlhf-lab .*)$")]
    chosen = [
        (page, group, option)
        for page, line in lines
        for group, options in re.findall(r" (\w+)=([\w,]+)", line.split("#")[0])
        for option in options.split(",")
        if (CONF / group).is_dir() and group != "experiment" and option not in ("colder", "lazy", "small")
    ]
    assert len(chosen) > 20
    missing = [row for row in chosen if not (CONF / row[1] / f"{row[2]}.yaml").is_file()]
    assert missing == []


def test_every_committed_figure_has_a_page_with_its_claims():
    assert len(COMMITTED) == len(list((DOCS / "figures").glob("*.png"))) == 44
    for name in COMMITTED:
        pages = [page for page, text in PAGES.items() if f"<!-- claims: {name} -->" in text]
        assert len(pages) == 1 and f"../figures/{name}.png" in PAGES[pages[0]], name
        assert re.search(rf"rlhf-figures .*\b{name}\b", PAGES[pages[0]]), name


def test_every_path_of_the_repository_that_a_page_names_exists():
    paths = named(r"`((?:rlhf_lab|analysis|conf|sweeps|docs|tests|benchmarks)/[\w./]*)`")
    assert len(paths) > 30
    wanted = [(page, path) for page, path in paths if not re.search(r"\bNAME\b", path)]
    assert [(page, path) for page, path in wanted if not (TOP / path).exists()] == []


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES["README.md"])
    assert len(links) > 20
    assert [link for link in links if not (TOP / link).is_file()] == []


def test_lines_of_prose_are_wrapped():
    for page, text in PAGES.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()
        long = [line for line in prose if len(line) > 100 and not line.startswith(("|", "!", "    "))]
        assert long == [], page


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_the_rooms_are_those_that_the_page_on_architecture_lists():
    listed = set(
        re.findall(r"^\| `((?:rlhf_lab|analysis)/\w+)` \|", PAGES["docs/architecture.md"], re.MULTILINE)
    )
    rooms = {
        f"{package}/{path.name}"
        for package in ("rlhf_lab", "analysis")
        for path in (TOP / package).iterdir()
        if path.is_dir() and any(path.iterdir()) and path.name not in ("__pycache__", "conf", "sweeps")
    }
    assert listed == rooms


@pytest.fixture
def hooks():
    """docs/hooks.py, which only the site imports."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_of_claims_has_a_row_for_each_and_says_its_state(hooks):
    claims = json.loads((DOCS / "figures" / "quickstart.claims.json").read_text())
    lines = hooks.claims_table("quickstart").splitlines()
    assert len(lines) == 2 + len(claims)
    for claim, line in zip(claims, lines[2:], strict=True):
        state = line.split(" | ")[-1]
        assert state.startswith({True: "met", False: "not met", None: "undecided"}[claim["met"]])
    assert "| – [–, –] |" in hooks.claims_table("backdoor_probe")


def test_the_states_of_all_claims_are_counted(hooks):
    total, construction, *states = map(int, re.findall(r"\d+", hooks.counts()))
    assert total == sum(len(hooks.claims_of(name)) for name in COMMITTED)
    assert total == construction + sum(states)


def test_the_page_of_keys_is_generated_with_every_group(hooks):
    page = hooks.keys_page()
    for name in ("task", "policy.seed", "rm.lr", "runtime.store", "labeler=flip"):
        assert f"`{name}" in page
