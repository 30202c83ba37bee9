"""One line at the start about libraries that this release is not tested with."""

import importlib.metadata
import subprocess
import sys

import pytest

from rlhf_lab.commands import versions


@pytest.fixture
def installed(monkeypatch):
    """Another version of a library than the one that is there."""
    real = importlib.metadata.version

    def pretend(**others):
        monkeypatch.setattr(versions, "version", lambda name: others.get(name) or real(name))

    return pretend


def test_what_is_installed_here_fits():
    assert versions.outside() is None


def test_the_window_of_trl_and_transformers_is_closed():
    window = {line.split(">")[0] for line in versions._requirements() if ">=" in line and "<" in line}
    assert {"trl", "transformers", "torch"} <= {name.split("<")[0] for name in window}


def test_a_library_outside_its_window_is_named_with_it(installed):
    installed(trl="2.0.0", transformers="6.1")
    line = versions.outside()
    assert line is not None and "\n" not in line
    assert "trl 2.0.0 (<1.17,>=1.16)" in line and "transformers 6.1 (<6,>=5.23)" in line


def test_the_run_says_so_and_goes_on(lab, fakes, installed):
    installed(trl="2.0.0")
    answer = lab("policy=bon")
    assert answer.code == 0
    assert answer.err.startswith("rlhf-lab: not tested with trl 2.0.0") and answer.err.count("\n") == 1
    assert lab("--cfg", "job").err == ""


def test_a_checkout_that_is_not_installed_says_nothing(monkeypatch):
    monkeypatch.setattr(versions, "DISTRIBUTION", "no-such-distribution")
    assert versions.outside() is None


def test_looking_imports_nothing_heavy():
    code = "import sys; from rlhf_lab.commands import versions; versions.outside(); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "trl", "transformers", "numpy"} & set(out.split())
