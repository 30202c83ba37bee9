"""Nothing damaged is used: named, and made again."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime import RUNTIME
from test_store import built, diamond, node

from rlhf_lab.pipeline import execution
from rlhf_lab.store import integrity
from rlhf_lab.store.artifacts import MANIFEST, PLAIN_NAME, Store, inside, sealed, write_json


def manifest(folder):
    return json.loads((folder / MANIFEST).read_text())


def flip(path, at=0):
    """Change one byte and not the size."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def of_another(folder):
    """The manifest of an artifact of another VERSION, put here."""
    write_json(folder / MANIFEST, sealed(manifest(folder) | {"version": 7, "key": "0" * 20}))


DAMAGE = {
    "edited": (lambda f: flip(f / "whole"), r"has other contents \(SHA-256 \w{12}, .* in whole"),
    "truncated": (lambda f: (f / "whole").write_text(""), "has 0 bytes, where 3 were made, in whole"),
    "lost": (lambda f: (f / "whole").unlink(), "lacks whole, which its manifest lists"),
    "lie": (
        lambda f: write_json(f / MANIFEST, manifest(f) | {"version": 2}),
        "has a manifest that was changed since it was made",
    ),
    "another VERSION": (of_another, "holds another artifact, test_store/0{20} of VERSION 7"),
    "garbage": (lambda f: (f / MANIFEST).write_bytes(b"\xff{"), "has a manifest that is not JSON"),
    "earlier form": (
        lambda f: (f / MANIFEST).write_text('{"files": {"whole": 3}}'),
        "has a manifest without digests",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_input_is_named_and_made_again_before_it_is_used(store, case, caplog):
    leaf = diamond()
    top = leaf.inputs["left"].inputs["top"]
    execution.realise(top, store, RUNTIME)
    before = (store.path(top) / "whole").read_bytes()
    damage, words = DAMAGE[case]
    damage(store.path(top))
    with pytest.raises(integrity.Damaged, match=rf"^test_store/{top.key} {words}"):
        integrity.check(store.path(top))
    with caplog.at_level(logging.WARNING):
        execution.realise(leaf, store, RUNTIME)
    assert f"test_store/{top.key} " in caplog.text and "it is made again" in caplog.text
    assert (store.path(top) / "whole").read_bytes() == before and built(store).count("top") == 2
    for made in leaf.walk():
        integrity.check(store.path(made))


@pytest.mark.parametrize("case", DAMAGE)
def test_running_again_heals_what_figures_read(store, case):
    leaf = diamond()
    execution.realise(leaf, store, RUNTIME)
    assert execution.mend(leaf, store) is None
    damage, words = DAMAGE[case]
    damage(store.path(leaf.inputs["left"]))
    assert words.split()[0] in (execution.mend(leaf, store) or "")
    assert not store.made(leaf) and not store.made(leaf.inputs["left"]) and store.made(leaf.inputs["right"])
    execution.realise(leaf, store, RUNTIME)
    assert execution.mend(leaf, store) is None and built(store).count("right") == 1


@pytest.mark.parametrize("name", [".DS_Store", ".nfs0001", ".whole.swp", "notes/mine.txt"])
def test_a_file_that_only_lies_beside_discards_nothing(store, name):
    leaf = diamond()
    execution.realise(leaf, store, RUNTIME)
    for made in leaf.walk():
        path = store.path(made) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        assert integrity.foreign(store.path(made)) == [name]
    assert execution.mend(leaf, store) is None
    store.discard(leaf)
    execution.realise(leaf, store, RUNTIME)
    assert built(store) == ["leaf", "leaf", "left", "right", "top"]


def test_what_was_made_from_an_earlier_one_is_made_again_beside_a_different_one(store, caplog):
    top = node("top")
    left = node("left", top=top)
    leaf = node("leaf", top=top, left=left)
    execution.realise(left, store, RUNTIME)
    store.discard(top)
    store.publish(top, lambda out: (out / "whole").write_text("top in other bits"), {})
    execution.realise(leaf, store, RUNTIME)
    assert f"test_store/{left.key} was made from another test_store/{top.key}" in caplog.text
    assert built(store) == ["leaf", "left", "left", "top"]


def test_the_same_bytes_made_again_keep_what_was_made_from_them(store):
    leaf = diamond()
    execution.realise(leaf, store, RUNTIME)
    for made in leaf.inputs.values():
        store.discard(made)
        execution.realise(made, store, RUNTIME)
    assert execution.mend(leaf, store) is None and store.made(leaf)


@given(at=st.integers(0, 2**16), files=st.dictionaries(st.sampled_from("abc"), st.binary(max_size=40)))
def test_any_changed_byte_is_noticed(tmp_path_factory, at, files):
    store, one = Store(tmp_path_factory.mktemp("store")), node("one")
    store.publish(one, lambda out: [(out / name).write_bytes(data) for name, data in files.items()], {})
    folder = store.path(one)
    integrity.check(folder)
    spots = [(path, i) for path in sorted(folder.iterdir()) for i in range(path.stat().st_size)]
    path, i = spots[at % len(spots)]
    data = bytearray(path.read_bytes())
    data[i] ^= 0x80 if path.name == MANIFEST else 1  # in JSON a space for another space would say the same
    path.write_bytes(data)
    with pytest.raises(integrity.Damaged):
        integrity.check(folder)


# --- names --------------------------------------------------------------------------------------------------

NAMES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["..", ".", "../x", "/etc", "a/../../b", "a\0b", "a\nb", "\udcff", "x" * 300, "~"]),
)


@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_no_name_leads_out_of_the_store(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("store")
    try:
        path = inside(root, *names)
    except ValueError as error:
        assert "cannot name a folder of the store" in str(error) and "\n" not in str(error)
        return
    assert path.resolve().relative_to(root.resolve()).parts == tuple(names)
    path.mkdir(parents=True)


@pytest.mark.parametrize("name", ["../../outside", "/outside", "..", "a\0b"])
def test_a_stage_or_key_that_leads_out_is_refused(store, name):
    one = node("one")
    object.__setattr__(one, "key", name)
    for use in (store.path, store.made, store.discard, store.manifest):
        with pytest.raises(ValueError, match="cannot name a folder of the store"):
            use(one)
    with pytest.raises(ValueError, match="cannot name a folder"):
        store.path(replace(node("one"), name=f"{name.lstrip('.')}x/.."))
    assert all(PLAIN_NAME.fullmatch(fine) for fine in ("quickstart", "gao2022_fig1", "müde", "a.b+c=d"))
    assert not Path(store.root).exists()


def test_a_sweep_that_leads_out_of_the_store_is_refused(lab, fakes, tmp_path):
    (tmp_path / "mine" / "sweeps").mkdir(parents=True)
    (tmp_path / "mine" / "out.yaml").write_text("# @package _global_\nhydra:\n  sweeper:\n    params: {}\n")
    for name in ("../out", "/etc/passwd", "../../x", "'a b'"):
        answer = lab("--config-dir", str(tmp_path / "mine"), f"experiment={name}")
        assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}
