"""No pickle is loaded, no code of a checkpoint's own is run, no secret is written down."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest
from test_pretrained import stage

from rlhf_lab.store import records, redaction

TESTS = Path(__file__).parent
FILES = [path for package in ("rlhf_lab", "analysis") for path in (TESTS.parent / package).rglob("*.py")]
LOADERS = {  # calls that run what they read, and the only way in which each may be written
    "torch.load": "weights_only=True",
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "yaml.full_load": None,
    "joblib.load": None,
    "eval": None,
    "exec": None,
    "os.system": None,
}


def unsafe(source: str) -> list[str]:
    """What a module does that could run code which it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [
                name for name in names if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "shelve")
            ]
        if isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), [ast.unparse(word) for word in node.keywords]
            if name in LOADERS and LOADERS[name] not in options:
                found.append(name)
            trusting = ("trust_remote_code=True", "allow_pickle=True", "shell=True", "weights_only=False")
            found += [option for option in options if option in trusting]
            if (
                name.endswith(".from_pretrained")
                and "Model" in name
                and "use_safetensors=True" not in options
            ):
                found.append(f"{name} without use_safetensors=True")
    return found


def test_nothing_that_is_read_is_run() -> None:
    assert len(FILES) > 60
    assert {path.name: bad for path in FILES if (bad := unsafe(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "yaml.load(text, yaml.Loader)",
        "AutoModel.from_pretrained(folder)",
        "kind.from_pretrained(folder, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "exec(text)",
    ],
)
def test_the_search_can_find_it(source: str) -> None:
    assert unsafe(source)


class Bomb:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_and_code_beside_the_weights_are_not_touched(tmp_path: Path) -> None:
    source, fired = checkpoints.llama(tmp_path / "source"), tmp_path / "fired"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl"):
        (source / name).write_bytes(pickle.dumps(Bomb(fired)))
    code = f"open({str(fired)!r}, 'w').close()\n"
    for name in ("modeling_llama.py", "tokenization_own.py", "sitecustomize.py"):
        (source / name).write_text(code)
    made = stage(source, tmp_path / "out")
    assert not fired.exists()
    assert {path.suffix for path in made.iterdir()} <= {".json", ".safetensors", ".jinja"}
    pickle.loads((source / "optimizer.pt").read_bytes())
    assert fired.exists(), "the trap works"


# --- secrets ------------------------------------------------------------------------------------------------

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_planted_planted_planted",
    "MY_SERVICE_PASSWORD": "correct-horse-battery",
}
LEAK = """
import logging, os
import fake_stages
from rlhf_lab.stages import score

def leak(config, inputs, out, runtime):
    logging.getLogger("a.library").info("asked with %s", os.environ["HF_TOKEN"])
    if os.environ.get("FAKE_FAIL"):
        raise RuntimeError(f"401 for {os.environ['WANDB_API_KEY']}\\nand {os.environ['MY_SERVICE_PASSWORD']}")
    fake_stages.run("score", config, inputs, out, runtime)

fake_stages.install()
score.run = leak
"""


@pytest.mark.parametrize("trouble", [pytest.param("", marks=pytest.mark.slow), "score"])
def test_no_secret_is_written_down(trouble: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LEAK)
    paths = [tmp_path / "site", TESTS / "fakes", TESTS.parent]
    environment = {**os.environ, **SECRETS, "FAKE_FAIL": trouble, "RLHF_LAB_STORE": str(tmp_path / "store")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    words = ["tracker=wandb", "policy=ppo", f"tracker.tags=[{SECRETS['MY_SERVICE_PASSWORD']}]"]
    done = subprocess.run(
        [sys.executable, "-m", "rlhf_lab", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == (1 if trouble else 0), done.stderr
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    ours = [path for path in written if tmp_path / "store" in path.parents]
    assert any("a.library: asked with [secret]" in p.read_text() for p in ours if p.name == "log.txt")
    for name, secret in SECRETS.items():
        held = [path for path in written if secret.encode() in path.read_bytes()]
        assert not held, f"{name} in {held}"
        assert secret not in done.stdout + done.stderr


def test_what_is_hidden_and_what_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOY_KEY", 'a"quoted\\secret')
    monkeypatch.setenv("SSH_KEY", "/keys/id")
    monkeypatch.setenv("SHORT_TOKEN", "word")
    monkeypatch.setenv("KEYBOARD_LAYOUT", "a-long-value-of-no-interest")
    text = 'a"quoted\\secret /keys/id word a-long-value-of-no-interest'
    hidden = "[secret] /keys/id word a-long-value-of-no-interest"
    assert redaction.hide({"a": [text, 1, None]}) == {"a": [hidden, 1, None]}


@pytest.mark.parametrize(
    "name",
    ["PGPASSWORD", "GITHUB_PAT", "OPENAIAPIKEY", "HF_TOKEN", "DBPWD", "MYAUTH", "AWS_CREDS", "SSL_KEY"],
)
def test_a_variable_is_taken_for_a_secret_by_its_name(name, monkeypatch):
    monkeypatch.setenv(name, "/Planted/planted=")
    assert redaction.hide("said /Planted/planted= here") == "said [secret] here"


@pytest.mark.parametrize("name", ["GIT_AUTHOR_NAME", "MY_PATH", "PATTERN", "KEYBOARD", "MONKEYS"])
def test_other_variables_are_none(name, monkeypatch):
    monkeypatch.setenv(name, "a-value-of-no-interest")
    assert redaction.hide("a-value-of-no-interest") == "a-value-of-no-interest"


def test_user_and_password_of_a_url_are_hidden_in_any_text():
    text = "cannot reach postgres://user:pass@host:5432/db, nor https://example.org/a@b"
    assert (
        redaction.hide(text) == "cannot reach postgres://[secret]@host:5432/db, nor https://example.org/a@b"
    )


def test_a_secret_that_is_the_name_of_a_stage_or_an_option_edits_no_record(lab, fakes, monkeypatch):
    monkeypatch.setenv("STAGE_KEY", "reward_model")
    monkeypatch.setenv("PROJECT_KEY", "synthetic_assistant")
    assert lab("policy=ppo", "task=synthetic_assistant").code == 0
    (run,) = records.runs("adhoc")
    assert run.choices["task"] == "synthetic_assistant" and run.rows().num_rows
    assert records.sweep_record("adhoc")["command"] == "rlhf-lab policy=ppo task=synthetic_assistant"
    (manifest,) = (json.loads(path.read_text()) for path in run.root.glob("ppo/*/manifest.json"))
    assert manifest["inputs"]["proxy"][0] == "reward_model" and "[secret]" not in str(manifest["config"])
    assert lab("policy=ppo", "task=synthetic_assistant").code == 0


# --- configurations ---------------------------------------------------------------------------------------------

PACKAGE = "# @package _global_\n"
LOGGER = "handlers: {x: {class: logging.StreamHandler, stream: '${oc.decode:ex}t://smuggled.f'}}, root: {handlers: [x]}"
FILE_LOGGER = (
    "handlers: {x: {class: logging.FileHandler, filename: precious.txt, mode: w}}, root: {handlers: [x]}"
)
GIT = (
    "GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: core.fsmonitor, GIT_CONFIG_VALUE_0: 'touch planted.txt; false'"
)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hydra_logging", f"{PACKAGE}hydra: {{hydra_logging: {{version: 1, {LOGGER}}}}}\n"),
        ("job_logging", f"{PACKAGE}hydra: {{job_logging: {{version: 1, {LOGGER}}}}}\n"),
        ("job_logging", f"{PACKAGE}hydra: {{job_logging: {{version: 1, {FILE_LOGGER}}}}}\n"),
        ("job.env_set", f"{PACKAGE}hydra: {{job: {{env_set: {{{GIT}}}}}}}\n"),
        ("job.env_set", "# @package hydra.job\nenv_set: {PATH: '.:/usr/bin'}\n"),
        ("job.env_set", "# @package hydra.job\nenv_copy: [PATH]\n"),  # Hydra copies them into env_set
        ("job.chdir", "# @package hydra.job\nchdir: true\n"),
        ("output_subdir", f"{PACKAGE}hydra: {{output_subdir: .hydra}}\n"),
    ],
)
@pytest.mark.parametrize("runtime", ["runtime.plan=true", "experiment=own"])
def test_no_configuration_chooses_a_log_an_environment_or_a_folder(lab, tmp_path, key, text, runtime):
    """An interpolation put a stream together that Hydra imported; git ran a program that the environment named."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text(text)
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "smuggled.py").write_text("raise SystemExit('imported')\n")
    words = dict.fromkeys(["--config-dir", "mine", "experiment=own", runtime])
    answer = lab(*words)
    assert answer.code == 2 and f"hydra.{key} cannot be set" in answer.err and answer.err.count("\n") == 1
    assert (tmp_path / "precious.txt").read_text() == "precious"
    assert not (tmp_path / "planted.txt").exists() and "smuggled" not in sys.modules


def test_planning_finds_a_judge_without_importing_it(lab, tmp_path):
    package = tmp_path / "judges"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(0)\n")
    (package / "mine.py").write_text("def judge(prompts, answers): return [0.0] * len(answers)\n")
    answer = lab("score.extra=[judges.mine:judge]", "runtime.plan=true")
    assert answer.code == 0 and "to make" in answer.out and "judges" not in sys.modules


def test_git_is_asked_without_what_the_environment_says_of_it(tmp_path, monkeypatch):
    from rlhf_lab.pipeline import execution

    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"touch {tmp_path}/planted; false")
    (tmp_path / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/planted\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    execution._git(TESTS.parent / "rlhf_lab")
    assert not (tmp_path / "planted").exists()
