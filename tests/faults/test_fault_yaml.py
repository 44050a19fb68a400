"""Any text as a space, a recipe or a model: it loads, or it gets one clear message, soon.

With --faults each of these is tried thousands of times.
"""

import json
import os
import resource
import time
import warnings
from pathlib import Path

import pytest
import yaml
from disturbed import places, tried
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import designspace
from designspace.arch import published
from designspace.arch.model_file import model_text, read_model
from designspace.io.yaml_files import MAX_YAML_LENGTH
from designspace.pretraining.recipe import load_recipe as load_pretraining
from designspace.pretraining.recipe import shipped_recipes as shipped_pretraining
from designspace.runs import load_recipe, shipped_recipes
from designspace.space import load_space, sample, shipped_spaces

PACKAGE = Path(designspace.__file__).parent
SECONDS, BYTES = 2.0, 1 << 30
ANY = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def space(path):
    """Load a space, and do with it what comes next."""
    found = load_space(str(path))
    assert found.hash
    assert found.exact_size >= 1
    assert found.paper_size >= 0
    assert found.dimensions >= 0
    sample(found, 2, (), 0, max_candidates=64)


def recipe(path):
    """Load a recipe, and vary it."""
    load_recipe(str(path)).at(8).override(epochs=7)


def pretraining(path):
    """Load a recipe of pretraining, and vary it."""
    load_pretraining(str(path)).override(batch_size=64)


def model(path):
    """Load a model, and count it."""
    summary = read_model(path).summary()
    assert min(summary["flops"], summary["params"], summary["acts"]) > 0


TEXTS = {
    space: [load.read_text() for load in sorted((PACKAGE.parent / "spaces").glob("*.yaml"))],
    recipe: [p.read_text() for p in sorted((PACKAGE / "runs" / "recipes").glob("*.yaml"))],
    pretraining: [
        p.read_text() for p in sorted((PACKAGE / "pretraining" / "recipes").glob("*.yaml"))
    ],
    model: [model_text(published(name)) for name in ("RegNetX-200MF", "RegNetY-256GF")]
    + ["name: m\nregnet: {d: 13, w_0: 24, w_a: 36.4, w_m: 2.5, b: 1.0, g: 8}\n"],
}
KINDS = pytest.mark.parametrize("load", TEXTS, ids=lambda load: load.__name__)


def attempt(load, path):
    """Load a file; a mistake in it gets one line that names the file, soon and in little memory."""
    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = tried(load, path)[1]
    if message is not None:
        # What was loaded may still allow no model, which the sampler says of the space by name.
        assert path.name in message or "distinct models found" in message, message
        assert len(message) < 2000, message[:2500]
    assert time.process_time() - before < SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown * 1024 < BYTES
    return message


def test_the_texts_themselves_load(tmp_path):
    assert len(TEXTS[space]) == len(shipped_spaces())
    assert len(TEXTS[recipe]) == len(shipped_recipes())
    assert len(TEXTS[pretraining]) == len(shipped_pretraining())
    for load, texts in TEXTS.items():
        for text in texts:
            (tmp_path / "x.yaml").write_text(text)
            assert attempt(load, tmp_path / "x.yaml") is None or load is space


NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 3),
    st.sampled_from([10**19, -(10**30), 10**4000, 2**63, 10**6, 10**6 + 1]),
    st.floats(),
    st.sampled_from([5e-324, 1e-300, 1e-7, 1e308, 0.1 + 0.2]),
)
TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "AnyNetXA", "../x", "x" * 5000, "\x1b[31m", "a\nb", "<script>", "\u202e"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(TEXT, NUMBERS), inner, max_size=3)
    ),
    max_leaves=8,
)


@KINDS
@ANY
@given(data=st.data())
def test_any_value_in_any_place(load, data, tmp_path_factory):
    """A valid file in which values are replaced, removed, or named otherwise."""
    plain = yaml.safe_load(data.draw(st.sampled_from(TEXTS[load])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([*places(plain)] or [("name",)]))
        inner = plain
        for key in place[:-1]:
            inner = inner[key]
        how = data.draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename"]))
        if how == "replace":
            inner[place[-1]] = data.draw(VALUES)
        elif not inner:
            break
        elif how == "remove":
            del inner[place[-1]]
        elif isinstance(inner, dict):
            inner[data.draw(TEXT)] = inner.pop(place[-1])
    path = tmp_path_factory.mktemp("any") / "value.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=data.draw(st.booleans())))
    attempt(load, path)


TOKENS = [
    *"[]{}:,-?|>&*!%@`'\"#\t\n",
    *("&a", "*a", "<<: ", "!!python/object/apply:os.system ", "!!bool x", "!!timestamp x"),
    *(
        "!!int ''",
        "!!float ''",
        "!!binary x",
        "!!set {a}",
        "? [a]\n: b\n",
        "---\n",
        "...\n",
        "=",
    ),
    *("0x" + "f" * 5000, "1:" * 30 + "1", ".inf", ".nan", "~", "2020-13-45", "\ufeff", "\x00"),
    *("0b_", "0o8", "1e999", "\ud7ff", "\u2028", "yes", "- - - -", "[" * 50, "name: "),
]


@KINDS
@ANY
@given(data=st.data())
def test_any_damage_to_the_text(load, data, tmp_path_factory):
    """A valid file from which pieces are cut, doubled, or broken by YAML's own marks."""
    text = data.draw(st.sampled_from(TEXTS[load]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 30)))
        piece = data.draw(
            st.one_of(st.sampled_from(TOKENS), st.text(max_size=8), st.just(text[start:end] * 2))
        )
        text = text[:start] + piece + text[end:]
    path = tmp_path_factory.mktemp("any") / "damage.yaml"
    path.write_bytes(text.encode("utf-8", errors="replace"))
    attempt(load, path)


@ANY
@given(content=st.binary(max_size=300))
@pytest.mark.parametrize("load", TEXTS, ids=lambda load: load.__name__)
def test_any_bytes(load, content, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "bytes.yaml"
    path.write_bytes(content)
    attempt(load, path)


ROOM = MAX_YAML_LENGTH - 10
BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b]\n",
    "merged": "a: &a {b: 1}\nc: {<<: *a}\n",
    "deep": "a: " + "[" * 5000 + "]" * 5000,
    "long list": "a: [" + "1," * (ROOM // 2 - 4) + "1]",
    "many keys": "".join(f"k{i}: 1\n" for i in range(ROOM // 12)),
    "long key": "k" * ROOM,
    "long text": "name: " + "x" * (ROOM - 6),
    "long integer": "name: " + "9" * (ROOM - 6),
    "long hexadecimal": "se_ratio: 0x" + "f" * (ROOM - 14),
    "base sixty": "name: 1" + ":1" * (ROOM // 2 - 6),
    "long float": "name: 1." + "9" * (ROOM - 9),
    "quotes": "name: '" + "''" * (ROOM // 2 - 8) + "'",
    "comments": "#\n" * (ROOM // 2),
    "documents": "---\n" * (ROOM // 4),
    "too long": "#" * (MAX_YAML_LENGTH + 1),
}


@KINDS
@pytest.mark.parametrize("kind", BOMBS)
def test_texts_crafted_to_take_long(load, kind, tmp_path):
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[kind])
    assert attempt(load, path)


@KINDS
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/proc/self/mem", "/proc/self/root"])
def test_what_is_no_file(load, path, tmp_path):
    link = tmp_path / "odd.yaml"
    link.symlink_to(path)
    assert attempt(load, link)


@KINDS
def test_a_pipe_is_not_waited_for(load, tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "pipe.yaml is a pipe, a device or a socket" in attempt(load, tmp_path / "pipe.yaml")


@KINDS
def test_mistakes_are_reported_with_a_remedy(load, tmp_path):
    """What, where, and what would be right: of each kind the same."""
    path = tmp_path / "mine.yaml"
    plain = yaml.safe_load(TEXTS[load][0])
    wrong = {
        "an unknown key": ({**plain, "nmae": 1}, "nmae: unknown key; did you mean name"),
        "no text": ({**plain, "name": ["x"]}, 'name: must be text; found ["x"]'),
        "a missing key": ({k: v for k, v in plain.items() if k != "name"}, "name: missing"),
        "no map": ([plain], "must be a map of keys to values"),
    }
    for data, said in wrong.values():
        path.write_text(yaml.safe_dump(data))
        message = attempt(load, path)
        assert said in message, message
        assert str(path) in message
    path.write_text("name: [1, 2\nreason: x\n")
    assert f"{path}, line 2" in attempt(load, path)
    path.write_text("name: !!python/object/apply:os.system [x]\n")
    assert "line 1: tags" in attempt(load, path)
    path.write_text("name: a\nname: b\n")
    assert "line 2: duplicate key 'name'" in attempt(load, path)


@pytest.mark.parametrize("verb", ["spaces", "complexity"])
def test_a_message_is_one_line_whatever_is_in_the_file(verb, refused, tmp_path):
    path = tmp_path / "a\x1b[31mb\nc.yaml"
    path.write_text('"\\e[31m\\n": 1\nname: "\\u202e"\n')
    said = refused(verb, path)
    assert "\x1b" not in said
    assert "\u202e" not in said


@ANY
@given(value=VALUES)
def test_any_value_in_a_table_of_others(value, tmp_path_factory):
    """What `import` reads: JSON of any shape, and text that is none."""
    from designspace.importing.import_results import import_results

    folder = tmp_path_factory.mktemp("any")
    path = folder / "sweep.json"
    entry = {"net": value, "test_ep_top1": [5.0], "cfg": {}, "flops": value}
    for data in (value, [value], [entry, {"net": {}, "min_test_top1": value}], {"top": [entry]}):
        text = json.dumps(data, default=str)
        path.write_bytes(text.encode("utf-8", errors="replace"))
        attempt(lambda path: import_results(path, folder / "out", force=True), path)


CELLS = st.one_of(
    st.sampled_from(["", "5", "1e999", "nan", "-1", "complete", "id", "error", "d1", "w1", "g"]),
    st.text(max_size=6),
)


@ANY
@given(rows=st.lists(st.lists(CELLS, max_size=6), max_size=6), mark=st.sampled_from(",;\t\r\n"))
def test_any_text_as_a_table(rows, mark, tmp_path_factory):
    """What `import` reads, and what it wrote and somebody edited."""
    from designspace.analysis.imported_folder import read_imported
    from designspace.importing.import_results import import_results

    folder = tmp_path_factory.mktemp("any")
    text = "\n".join(mark.join(row) for row in rows)
    for name, head in (("table.csv", f"error{mark}x\n"), ("models.csv", "id,state,error,d1,w1\n")):
        (folder / name).write_bytes((head + text).encode("utf-8", errors="replace"))
    (folder / "import.yaml").write_text("name: x\n")
    attempt(lambda path: import_results(path, folder / "out", force=True), folder / "table.csv")
    attempt(lambda path: read_imported(path.parent), folder / "models.csv")
