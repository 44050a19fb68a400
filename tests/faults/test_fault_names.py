"""Names from strangers reach the report as text, and no path in them leaves its folder."""

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from disturbed import Command, clear
from marks import quick_share

from designspace.io import journal
from designspace.runs import Run

PAYLOADS = [
    "<script>window.hit=1</script>",
    '"><img src=x onerror=window.hit=1>',
    "'-window.hit=1-'",
    "</script><script>window.hit=1</script>",
    "</title></style></svg><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "{{ 7*7 }}{% raw %}",
    "]]><script>window.hit=1</script>",
    "$\\frac{x$ \\input{/etc/passwd}",
    '=HYPERLINK("http://x")',
]


class Elements(HTMLParser):
    """Which elements and attributes a page has, and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.links, self.scripts = set(), set(), set(), []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value for name, value in attrs if name in ("href", "src", "xlink:href")}
        self._inside = tag == "script"

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "script"

    def handle_data(self, data):
        if self._inside:
            self.scripts.append(data)


def table(path, payload):
    """A table whose columns, names and words are what a stranger chose."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "error", payload, "width"])
        writer.writerows([f"{payload} {i}", 20 + i % 5, i * i, 8 * i] for i in range(40))
    return path


def strange_run(study, place, payload):
    """A copy of a trained run whose every free word is a payload."""
    shutil.copytree(study.trained, place)
    run = Run(place)
    space = {**run.space(), "reason": payload}
    (place / "space.yaml").write_text(yaml.safe_dump(space))
    first, *rest = [dict(record) for record in journal.read(run.trials_file).records]
    first |= {"state": "failed", "error": None, "reason": payload, "split": payload}
    first["versions"] = {payload: payload}
    run.trials_file.write_text("")
    journal.append(run.trials_file, [first, *rest])
    recipe = yaml.safe_load(run.recipe_file.read_text())
    recipe.pop("fingerprint")
    run.recipe_file.write_text(yaml.safe_dump({**recipe, "about": payload}))
    return place


def report(study, home, payload, cli):
    """Analyse a table and a run that bear a payload wherever a person may write one."""
    home.mkdir()
    run = strange_run(study, home / payload.replace("/", "∕"), payload)
    name = ("--name", f"{payload} 2")
    assert cli("import", table(home / "t.csv", payload), "--out", home / "in", *name).code == 0
    claim = {"claim": payload, "kind": "not_worse", "first": name[1], "second": run.name}
    claim["margin"] = 5
    (home / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
    outcome = cli(
        *("analyze", run, home / "in", "--out", home / "out", "--claims", home / "claims.yaml"),
    )
    assert outcome.code == 0, outcome
    return home / "out"


@pytest.fixture(scope="module")
def plain(small_study, tmp_path_factory):
    """What the report of a person without ideas is made of."""
    home = tmp_path_factory.mktemp("plain") / "home"
    home.mkdir()
    run = strange_run(small_study, home / "plain", "plain")
    claim = {"claim": "plain", "kind": "not_worse", "first": "plain 2", "second": "plain"}
    claim["margin"] = 5
    (home / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
    words = ("import", table(home / "t.csv", "plain"), "--out", home / "in", "--name", "plain 2")
    assert Command(*words).end().code == 0
    words = ("analyze", run, home / "in", "--out", home / "out", "--claims", home / "claims.yaml")
    assert Command(*words).end().code == 0
    return Elements((home / "out" / "index.html").read_text())


@pytest.mark.parametrize("payload", quick_share(PAYLOADS, PAYLOADS[:1]))
def test_a_payload_in_every_name_is_shown_and_never_run(payload, small_study, plain, tmp_path, cli):
    out = report(small_study, tmp_path / "home", payload, cli)
    page = (out / "index.html").read_text()
    found = Elements(page)
    assert found.tags <= plain.tags, found.tags - plain.tags
    assert found.attributes <= plain.attributes, found.attributes - plain.attributes
    data, program = found.scripts
    assert "<" not in data  # JSON that the program reads; nothing in it ends its element
    json.loads(data)
    assert program == plain.scripts[1]
    assert "innerHTML" not in program
    for link in found.links:
        assert link == "data:," or link.startswith(("#", "figures/", "tables/", "summary")), link
    assert "49{%" not in page
    for picture in (out / "figures").glob("*.svg"):
        root = ElementTree.fromstring(picture.read_text())
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert "script" not in names
        assert "image" not in names
        attributes = {name for element in root.iter() for name in element.attrib}
        assert not {name for name in attributes if name.lower().startswith("on")}
    for sheet in (out / "tables").glob("*.csv"):
        cells = [cell for row in csv.reader(sheet.open()) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "@")], sheet
    everything = {path.resolve() for path in tmp_path.rglob("*")}
    assert all(path.is_relative_to(tmp_path.resolve()) for path in everything)
    json.loads((out / "summary.json").read_text())


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "..", "<b>", "a\nb", "", ".hidden", "ü"])
def test_a_name_that_could_be_a_path_names_nothing(name, tmp_path, refused):
    space = {"name": name, "parent": "AnyNetXA", "reason": "x"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(space))
    words = ("--flops", "100K:3M", "-n", 2, "--out", tmp_path / "run")
    said = refused("sample", tmp_path / "s.yaml", *words)
    clear(said, tmp_path / "s.yaml", "name", "letters, digits, dots, dashes or underscores")
    model = {"name": name, "regnet": {"d": 13, "w_0": 24, "w_a": 36.4, "w_m": 2.5}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(model))
    said = refused("export", tmp_path / "m.yaml", "--to", "vissl", "--out", tmp_path / "out")
    clear(said, tmp_path / "m.yaml", "name", "letters, digits, dots, dashes or underscores")
    assert not (tmp_path / "out").exists()


def test_names_in_a_summary_lead_nowhere(small_study, tmp_path, cli, refused):
    """A study from a stranger is read for models; what they are called must not be a path."""
    out = tmp_path / "study"
    assert cli("analyze", small_study.trained, "--out", out).code == 0
    summary = json.loads((out / "summary.json").read_text())
    old = summary["populations"][0]["name"]
    text = json.dumps(summary).replace(f'"{old}"', json.dumps("../../up"))
    best = json.loads(text)
    for entry in best["best"]["../../up"]:
        entry["id"] = "../../../up"
    (out / "summary.json").write_text(json.dumps(best))
    made = tmp_path / "deep" / "er" / "made"
    outcome = cli("export", out, "--best", 2, "--to", "vissl", "--no-verify", "--out", made)
    assert outcome.code in (0, 2), outcome
    if outcome.code:
        clear(outcome.err)
    files = {p for p in (tmp_path / "deep").rglob("*") if p.is_file()}
    assert all(path.is_relative_to(made) for path in files), files
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_any_name_can_be_printed_on_any_terminal(encoding, small_study, tmp_path):
    """A terminal that lacks a letter shows a mark in its place."""
    import os
    import subprocess
    import sys

    place = Path(os.fsdecode(bytes(tmp_path) + "/日本 \x1b[31m".encode() + b"\xff"))
    shutil.copytree(small_study.trained, place)
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    words = [sys.executable, "-m", "designspace", "status", os.fsencode(place)]
    done = subprocess.run(words, capture_output=True, env=environment)
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout
