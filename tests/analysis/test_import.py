"""What others measured is read as it is, never executed, and analysed like one's own."""

import csv
import json
import pickle

import numpy as np
import pytest

from designspace.analysis.importers import Reading, read_foreign
from designspace.analysis.load_results import load_results
from designspace.errors import InputError


def pycls_job(i, epochs=3, done=3, kind="regnet", **changes):
    """A job of sweep.json as pycls' sweep_collect writes it."""
    regnet = {"DEPTH": 12, "W0": 24, "WA": 20.5 + i, "WM": 2.4, "GROUP_W": 8, "BOT_MUL": 1.0}
    anynet = {
        "DEPTHS": [1, 2, 3],
        "WIDTHS": [40, 64, 128],
        "GROUP_WS": [16, 16, 16],
        "BOT_MULS": [0.5, 0.5, 0.5],
    }
    errors = [60.0 - i, 40.0 - i, 45.0 - i]
    return {
        "log_file": f"/x/sweep/logs/{i:06d}/stdout.log",
        "cfg": {
            "MODEL": {"TYPE": kind},
            "REGNET": regnet,
            "ANYNET": anynet,
            "OPTIM": {"BASE_LR": 0.1, "WEIGHT_DECAY": 5e-5},
        },
        "complexity": {"flops": 4e8 + i, "params": 5e6, "acts": 2e6},
        "test_epoch": {
            "top1_err": errors[:done],
            "min_top1_err": [min(errors[: k + 1]) for k in range(done)],
            "epoch_ind": list(range(1, done + 1)),
            "epoch_max": [epochs] * done,
        },
        **changes,
    }


def nds_job(i, **net):
    """A model of an NDS summary."""
    return {
        "net": {"ds": [1, 2, 3, 4], "ws": [16, 32, 64, 128], **net},
        "optim": {"lr": 0.1, "wd": 5e-4},
        "flops": 1e8 + i,
        "params": 1e6,
        "min_test_top1": 5.0 + i,
        "test_ep_top1": [50.0, 5.0 + i, 6.0 + i],
    }


def written(tmp_path, cli, content, *words, name="their.json"):
    source = tmp_path / name
    source.write_text(content if isinstance(content, str) else json.dumps(content))
    outcome = cli("import", source, "--out", tmp_path / "in", "--json", *words)
    assert outcome.code == 0, outcome.err
    return load_results(tmp_path / "in"), json.loads(outcome.out)


def test_a_pycls_sweep_of_regnets(tmp_path, cli):
    failed = {"log_file": "/x/sweep/logs/000003/stdout.log", "err": "out of memory"}
    sweep = [pycls_job(0), pycls_job(1), pycls_job(2), failed, pycls_job(4, done=2)]
    for job in (sweep[3],):
        job["cfg"] = pycls_job(3)["cfg"]
        job["complexity"] = pycls_job(3)["complexity"]
    found, said = written(tmp_path, cli, sweep)
    # The last epoch's error, not the least over epochs.
    assert found.errors[:3].tolist() == [45.0, 44.0, 43.0]
    assert found.states.tolist() == ["complete"] * 3 + ["failed", "missing"]
    assert found.counted.tolist() == [True] * 3 + [False] * 2
    assert said["states"] == {"complete": 3, "failed": 1, "missing": 1}
    assert found.family == "regnet"
    assert found.regnets.regnet(1).w_a == 21.5
    assert found.ids[0] == "000000"
    assert found.costs["flops"][2] == 4e8 + 2
    assert found.parameters["lr"].tolist() == [0.1] * 5


def test_a_pycls_sweep_of_anynets_has_the_widths_that_were_built(tmp_path, cli):
    found, _ = written(tmp_path, cli, [pycls_job(i, kind="anynet") for i in range(3)])
    # w = 40, b = 2, g = 16: the 3x3 has 20 channels, of which 16 fit whole groups.
    assert found.bodies.widths[0].tolist() == [32, 64, 128]
    assert found.bodies.depths[0].tolist() == [1, 2, 3]
    assert found.parameters["b"].tolist() == [2.0] * 3
    assert found.bodies.body(0).bottleneck_ratios == (2.0, 2.0, 2.0)


def test_another_error_can_be_named(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([pycls_job(0), pycls_job(1)]))
    found = read_foreign(tmp_path / "s.json", Reading(error="test_epoch.min_top1_err"))
    assert found.errors.tolist() == [40.0, 39.0]
    assert found.about.error == "test_epoch.min_top1_err"


def test_nds_summaries(tmp_path, cli):
    jobs = [nds_job(i, bot_muls=[0, 0.5, 0.5, 1], num_gs=[0, 4, 4, 8]) for i in range(6)]
    found, _ = written(tmp_path, cli, {"top": jobs[:3], "mid": jobs[3:]}, "--classes", "10")
    assert found.errors.tolist() == [6.0 + i for i in range(6)]
    assert found.chance == pytest.approx(90)
    assert found.bodies.widths[0].tolist() == [32, 64, 128]  # the stem is no stage
    assert found.bodies.group_widths[0].tolist() == [4, 8, 16]
    assert found.bodies.bottleneck_ratios[0].tolist() == [2, 2, 1]


def test_nds_cells_are_numbers_without_stages(tmp_path, cli):
    jobs = [
        {"net": {"width": 16 + i, "depth": 8, "aux": True}, "min_test_top1": 7.0 + i}
        for i in range(4)
    ]
    found, _ = written(tmp_path, cli, jobs)
    assert found.bodies is None
    assert found.parameters["width"].tolist() == [16, 17, 18, 19]
    assert found.errors.tolist() == [7, 8, 9, 10]


def test_any_csv_goes_all_the_way_to_a_report(tmp_path, cli):
    rng = np.random.default_rng(0)
    lines = ["Name,top1,width,kind,FLOPs"]
    lines += [
        f"m{i},{0.6 + 0.3 * rng.random():.3f},{8 * (1 + i % 7)},a,{1e6 + i}" for i in range(40)
    ]
    lines.append("m40,,8,b,1000040")
    found, said = written(
        tmp_path, cli, "\n".join(lines), "--accuracy", "top1", "--fraction", name="t.csv"
    )
    assert found.states[-1] == "failed"
    assert 0 < found.errors[:40].min() < found.errors[:40].max() <= 40
    assert said["notes"] == ["columns that are no numbers were left out: kind"]
    assert set(found.costs) == {"flops"}
    outcome = cli("analyze", tmp_path / "in", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "imported from t.csv; error is 100 - top1" in page
    assert "after the last epoch" not in page


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_errors_alone_are_enough(tmp_path, cli, mark):
    text = f"note{mark}error\n" + "".join(f"a{mark}{30 + i}\n" for i in range(9))
    found, _ = written(tmp_path, cli, text, name="t.csv")
    assert found.errors.tolist() == list(range(30, 39))
    if mark == ",":
        out = tmp_path / "out"
        outcome = cli("analyze", tmp_path / "in", "--out", out)
        assert outcome.code == 0, outcome.err
        assert sorted(path.stem for path in (out / "figures").glob("*.svg")) == ["best_of_k", "edf"]
        assert "[30.0 | 34.0]" in (out / "index.html").read_text()


def test_no_cell_of_a_table_is_a_formula(tmp_path, cli):
    text = "id,error,=1+1\n" + "".join(f"@m{i},{30 + i},{i}\n" for i in range(6))
    written(tmp_path, cli, text, name="t.csv")
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    for path in (tmp_path / "out" / "tables").glob("*.csv"):
        cells = [cell for row in csv.reader(path.open()) for cell in row]
        assert not [cell for cell in cells if cell[:1] in ("=", "@")], path


def test_numbers_that_can_be_no_network_are_parameters(tmp_path, cli):
    found, _ = written(tmp_path, cli, "error,d1,w1\n5,1e18,8\n6,2,8\n", name="t.csv")
    assert found.bodies is None
    assert found.parameters["d1"].tolist() == [1e18, 2]


def test_stages_in_a_csv_are_networks(tmp_path, cli):
    text = "error,d1,d2,w1,w2,g\n" + "\n".join(
        f"{30 + i},{1 + i},2,{16 + 8 * i},64,8" for i in range(9)
    )
    found, _ = written(tmp_path, cli, text, name="t.csv")
    assert found.bodies.body(1).widths == (24, 64)
    assert found.bodies.body(1).group_widths == (8, 8)
    outcome = cli("analyze", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert json.loads(outcome.out)["best"]["in"][0]["arch"]["depths"] == [1, 2]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_never_opened(tmp_path, refused):
    marker = tmp_path / "executed"
    for name, protocol in (("sweep.json", 4), ("sweep.pkl", 0), ("sweep.csv", 2)):
        source = tmp_path / name
        source.write_bytes(pickle.dumps([Payload(marker)], protocol))
        refused("import", source, "--out", tmp_path / "in")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("", (), "needs a header"),
        ("a,b\n1,2\n", (), "no column of errors"),
        ("error\n0.2\n0.3\n", (), "add --fraction"),
        ("error\n120\n", (), "0 to 100"),
        ("error\nbad\n", (), "must be a number"),
        ("error,x\n,1\n", (), "no model"),
        ("err,x\n5,1\n", ("--error", "er"), "did you mean err"),
        ("[1, 2]", (), "list of models"),
        ('[{"x": 1}]', (), "neither a pycls sweep"),
        ("[{", (), "not JSON"),
        ("error,error\n5,6\n", (), "column 'error' is there twice"),
        ('[{"cfg": [], "test_epoch": 5}]', (), "not a model as this format writes it"),
        ('[{"cfg": {"MODEL": 5}, "test_epoch": {}}]', (), "model 0: not a model"),
        (json.dumps([nds_job(0, bot_muls=[0, 1, 1, 1], num_gs=[0, 1, 1, "x"])]), (), "not a model"),
        ("error\n5\n", ("--format", "xml"), "--format"),
        ("error\n5\n", ("--error", "error", "--accuracy", "error"), "not both"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, refused, text, words, message):
    (tmp_path / "t").write_text(text)
    assert message in refused("import", tmp_path / "t", "--out", tmp_path / "in", *words)


def test_nothing_is_overwritten_unasked(tmp_path, cli, refused):
    (tmp_path / "t.csv").write_text("error\n5\n6\n")
    words = ("import", tmp_path / "t.csv", "--out", tmp_path / "in")
    assert cli(*words).code == 0
    assert "holds an import already" in refused(*words)
    assert cli(*words, "--force").code == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "population.jsonl").write_text("")
    assert "is a run folder" in refused("import", tmp_path / "t.csv", "--out", tmp_path / "run")


def test_a_damaged_import_is_said(tmp_path, cli):
    (tmp_path / "t.csv").write_text("error,x\n5,1\n6,2\n")
    cli("import", tmp_path / "t.csv", "--out", tmp_path / "in")
    models = tmp_path / "in" / "models.csv"
    for old, new, message in [
        ("complete,5", "complet,5", "did you mean complete"),
        ("complete,5", "complete,500", "0 to 100"),
        ("complete,5,1", "complete,5,one", "not a number"),
        ("id,state", "id,stat", "needs a header"),
    ]:
        whole = models.read_text()
        models.write_text(whole.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            load_results(tmp_path / "in")
        models.write_text(whole)
