"""What others measured is read as it is, never executed, and analysed like one's own."""

import csv
import json
import pickle

import numpy as np
import pytest
from foreign_results import imported, nds_job, pycls_job, written

from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.analysis.load_results import load_populations, load_results
from designspace.analysis.read_findings import read_findings
from designspace.arch import Body, Model, RegNetParams, Skeleton
from designspace.derivation.derive_model import derive_model
from designspace.errors import InputError
from designspace.importing.import_results import import_results
from designspace.refinement.refine import refine
from designspace.report.write_report import write_report


def test_a_pycls_sweep_of_regnets(tmp_path, cli):
    failed = pycls_job(3, err="out of memory")
    del failed["test_epoch"]
    sweep = [pycls_job(0), pycls_job(1), pycls_job(2), failed, pycls_job(4, done=2)]
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


def test_a_pycls_sweep_of_anynets_keeps_its_widths(tmp_path, cli):
    found, _ = written(tmp_path, cli, [pycls_job(i, kind="anynet") for i in range(3)])
    # w = 40, b = 2, g = 16: AnyNet gives the 3x3 its 20 channels in 20 // 16 = 1 group.
    assert found.bodies.widths[0].tolist() == [40, 64, 128]
    assert found.bodies.group_widths[0].tolist() == [20, 16, 16]
    assert found.bodies.depths[0].tolist() == [1, 2, 3]
    assert found.parameters["b"].tolist() == [2.0] * 3
    assert found.bodies.body(0).bottleneck_ratios == (2.0, 2.0, 2.0)


def test_another_error_can_be_named(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([pycls_job(0), pycls_job(1)]))
    key = "test_epoch.min_top1_err"
    found = import_results(tmp_path / "s.json", tmp_path / "in", error=key)
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
    assert said["notes"][0] == "columns that are not numeric were left out: kind"
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
        assert sorted(path.stem for path in (out / "figures").glob("*.svg")) == ["edf"]
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
        ("error\n0.2\n0.3\n", (), "pass --scale fraction"),
        ("error\n120\n", (), "0 to 100"),
        ("error\nbad\n", (), "must be a number"),
        ("error,x\n,1\n", (), "no model has an error (error): 1 failed"),
        ("err,x\n5,1\n", ("--error", "er"), "did you mean err"),
        ("[1, 2]", (), "list of models"),
        ('[{"x": 1}]', (), "no column of errors"),
        ("[{", (), "not JSON"),
        ('{"error": 5}\n\n{"error": 6\n', (), "line 3: not JSON"),
        ('{"error": 5,\n"d": }\n', (), "not JSON: Expecting value: line 2"),
        ("tag,error\nx,5\n", ("--id", "tags"), "no column 'tags'; did you mean tag?"),
        (json.dumps([nds_job(0)]), ("--id", "net"), "--id has no effect on pycls sweeps"),
        ("error,error\n5,6\n", (), "occur twice: error"),
        ('[{"cfg": {}, "test_epoch": 5}]', (), "not a model as pycls writes it"),
        ('[{"cfg": {"MODEL": 5}, "test_epoch": {}}]', (), "model 0: "),
        (
            json.dumps([nds_job(0, bot_muls=[0, 1, 1, 1], num_gs=[0, 1, 1, "x"])]),
            (),
            "not a model as nds writes it",
        ),
        ("error\n5\n", ("--format", "xml"), "format is 'xml'"),
        (
            "error\n5\n",
            ("--error", "error", "--accuracy", "error"),
            "designspace: --error and --accuracy exclude",
        ),
        ("error\n5\n", ("--fraction", "--scale", "percent"), "--scale percent contradict"),
    ],
)
def test_what_is_wrong_is_reported(tmp_path, refused, text, words, message):
    (tmp_path / "t").write_text(text)
    assert message in refused("import", tmp_path / "t", "--out", tmp_path / "in", *words)


def test_nothing_is_overwritten_without_force(tmp_path, cli, refused):
    (tmp_path / "t.csv").write_text("error\n5\n6\n")
    words = ("import", tmp_path / "t.csv", "--out", tmp_path / "in")
    assert cli(*words).code == 0
    assert "already holds an import" in refused(*words)
    assert cli(*words, "--force").code == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "population.jsonl").write_text("")
    assert "is a run folder" in refused("import", tmp_path / "t.csv", "--out", tmp_path / "run")


def test_a_damaged_import_is_reported(tmp_path, cli):
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


def test_row_numbers_without_a_name_are_no_parameter(tmp_path, cli):
    found, about = imported(tmp_path, ",d,error\n0,12,12.5\n1,13,13.5\n2,14,11.5\n")
    assert list(found.parameters) == ["d"]
    assert about.notes == ["a column without a name that only numbers the rows was left out"]
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    # Names may be blank, reserved, or a name column without a header.
    found, _ = imported(tmp_path, "error,index, ,rank\n12,3,4,5\n13,4,6,5\n")
    assert list(found.parameters) == ["index (imported)", "column 3"]
    found, _ = imported(tmp_path, '"","error","x"\n"a",12,1\n"b",13,2\n')
    assert found.ids == ("a", "b")
    # R writes row names without a header.
    found, _ = imported(tmp_path, "error,x\na,12,1\nb,13,2\n")
    assert (found.ids, list(found.parameters)) == (("a", "b"), ["x"])
    # Hand-written folders, too.
    (tmp_path / "in" / "models.csv").write_text("id,state,error,,x\na,complete,5,1,2\n")
    (tmp_path / "in" / "import.yaml").write_text("name: x\n")
    assert list(load_results(tmp_path / "in").parameters) == ["column 4", "x"]


def test_a_crashed_pycls_job_is_failed_and_nothing_is_set_aside(tmp_path):
    sweep = [pycls_job(i) for i in range(40)]
    sweep[3] = pycls_job(3, done=1, err="Traceback: CUDA error")
    sweep[30] = pycls_job(30, done=1)
    found, _ = imported(tmp_path, sweep)
    assert (found.states[3], found.states[30]) == ("failed", "missing")
    assert found.counted.sum() == 29
    warnings = narrate(analyze([found])).warnings
    assert any("9 of in. all_finished=True includes them" in text for text in warnings)
    assert load_results(tmp_path / "in", all_finished=True).counted.sum() == 38


REGNETS = "error,d,w_0,w_a,w_m,b,g\n" + "".join(
    f"{30 + i % 7},{12 + i % 3},24,{20 + i / 4},2.4,1,8\n" for i in range(24)
)


def test_imported_regnets_can_be_derived_from_and_exported(tmp_path, cli, refused):
    imported(tmp_path, REGNETS, input="imagenet")
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    study = read_findings(tmp_path / "out")
    assert study.skeleton == Skeleton()
    assert study.models(2)[0].model.regnet.w_0 == 24
    model, _ = study.median_model(None, 0.0)
    assert model.regnet.d == 13
    words = ("derive", "--from", tmp_path / "out", "--flops", "400M", "--out", tmp_path / "m.yaml")
    assert cli(*words).code == 0
    words = ("export", tmp_path / "out", "--best", 1, "--to", "pycls", "--no-verify")
    assert cli(*words, "--out", tmp_path / "x").code == 0
    with pytest.raises(InputError, match="space='RegNetX'"):
        refine(tmp_path / "out", name="mine")
    refined = refine(tmp_path / "out", name="mine", space="RegNetX")
    assert (refined.models, refined.parent.name) == (24, "RegNetX")
    assert "g = 8" in {one.claim for one in refined.proposals}
    with pytest.raises(InputError, match="AnyNetXE-5stages has 5 stages"):
        refine(tmp_path / "out", name="mine", space="AnyNetXE-5stages")
    # Without the input's size, whole networks are unknown, and the message says so.
    imported(tmp_path, REGNETS)
    with pytest.raises(InputError, match="input size of the networks of in is unknown"):
        read_findings(tmp_path / "out").models(1)
    # Rows that describe no network are no dead end either: the message says what is missing.
    imported(tmp_path, "error,width\n" + "".join(f"{30 + i},{i}\n" for i in range(9)))
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    with pytest.raises(InputError, match=r"needs the columns d, w_0, .* the columns are: width"):
        read_findings(tmp_path / "out")


@pytest.mark.parametrize("name", ["@8", "=x"])
def test_a_search_reads_populations_whose_names_tables_quote(tmp_path, name):
    results, _ = imported(tmp_path, REGNETS, name=name, input="imagenet")
    findings = analyze([results])
    write_report(findings, tmp_path / "out", figures=())
    models = [
        derive_model(source=source, flops="200K", search=8, space="RegNetX@8").model
        for source in (findings, tmp_path / "out")
    ]
    assert models[0].body == models[1].body


def test_the_input_is_recognized_by_pycls_settings_and_by_flops(tmp_path):
    job = pycls_job(0)
    job["cfg"]["MODEL"]["NUM_CLASSES"] = 10
    job["cfg"]["TRAIN"] = {"IM_SIZE": 32}
    job["cfg"]["REGNET"] |= {"STEM_TYPE": "res_stem_cifar", "STEM_W": 16, "STRIDE": 2}
    _, about = imported(tmp_path, [job])
    assert about.skeleton() == Skeleton(32, 10, 16, 1, (2, 2, 2, 2))
    # Fewer stages have fewer strides: widths of 16 and 32, as s is 0, 0.58, 1, 1.32.
    job["cfg"]["REGNET"] |= {"DEPTH": 4, "W0": 16, "WA": 8.0, "WM": 2.0}
    found, about = imported(tmp_path, [job])
    assert found.bodies.widths.tolist() == [[16, 32]]
    assert about.skeleton() == Skeleton(32, 10, 16, 1, (2, 2))
    params = RegNetParams(13, 24, 24.48, 2.54, 1.0, 16)
    flops = Model("m", params.body(), Skeleton()).flops
    text = f"error,flops,d,w_0,w_a,w_m,b,g\n30,{flops / 1e6},13,24,24.48,2.54,1,16\n"
    _, about = imported(tmp_path, text.replace("flops", "MFLOPs"))
    assert about.skeleton() == Skeleton()


def test_an_imported_sweep_keeps_its_block_stem_and_activation(tmp_path, cli):
    sweep = [pycls_job(i, kind="anynet") for i in range(12)]
    for i, job in enumerate(sweep):
        job["cfg"]["MODEL"] |= {"NUM_CLASSES": 1000, "ACTIVATION_FUN": "swish"}
        job["cfg"]["TRAIN"] = {"IM_SIZE": 224}
        job["cfg"]["ANYNET"] |= {
            **{"BLOCK_TYPE": "vanilla_block", "STEM_TYPE": "res_stem_in", "STEM_W": 64},
            **{"STRIDES": [1, 2, 2], "DEPTHS": [1 + i % 2, 2, 3], "HEAD_W": 96},
        }
    results, about = imported(tmp_path, sweep)
    assert (about.block, about.activation) == ("vanilla", "silu")
    assert about.skeleton() == Skeleton(
        224, 1000, 64, 4, (1, 2, 2), stem="conv7_pool", head_width=96
    )
    body = Body((1, 2, 3), (40, 64, 128), (1.0,) * 3, (1,) * 3, block="vanilla", activation="silu")
    assert results.bodies.body(0) == body
    assert not {"b", "g", "b1", "g1"} & results.parameters.keys()
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    derived = derive_model(source=tmp_path / "out", flops="2G").model
    assert (derived.body.block, derived.body.activation) == ("vanilla", "silu")


def test_regnets_without_groups_keep_the_widths_that_pycls_builds(tmp_path):
    job = pycls_job(0)
    job["cfg"]["REGNET"] |= {"BLOCK_TYPE": "res_basic_block", "GROUP_W": 48}
    results, _ = imported(tmp_path, [job])
    # pycls fits widths to groups whatever the block is.
    assert results.bodies.widths.tolist() == [[24, 48, 144, 336]]
    assert results.bodies.group_widths.tolist() == [[1, 1, 1, 1]]
    assert results.regnets is None


def test_a_block_that_an_import_cannot_have(tmp_path):
    _, about = imported(tmp_path, REGNETS, block="linear-bottleneck")
    assert about.block == "linear-bottleneck"
    with pytest.raises(InputError, match=r"block 'mbconv' has axes of its own \(t, k"):
        imported(tmp_path, REGNETS, block="mbconv")
    with pytest.raises(InputError, match="no block 'vanila'"):
        imported(tmp_path, REGNETS, block="vanila")
    jobs = [pycls_job(0), pycls_job(1)]
    jobs[1]["cfg"]["REGNET"]["BLOCK_TYPE"] = "vanilla_block"
    with pytest.raises(InputError, match="models differ in block or activation"):
        imported(tmp_path, jobs)
    jobs[0]["cfg"]["REGNET"]["BLOCK_TYPE"] = "my_block"
    with pytest.raises(InputError, match=r"model 0: REGNET.BLOCK_TYPE is 'my_block'"):
        imported(tmp_path, jobs)


def test_pycls_settings_beyond_the_architecture_are_kept(tmp_path):
    sweep = [pycls_job(i, kind="anynet") for i in range(4)]
    for i, job in enumerate(sweep):
        job["cfg"] |= {"RNG_SEED": i, "OUT_DIR": f"/x/{i}"}
        job["cfg"]["OPTIM"] |= {"MAX_EPOCH": 10 + i, "LR_POLICY": "cos" if i else "exp"}
    found, about = imported(tmp_path, sweep)
    assert found.parameters["max_epoch"].tolist() == [10, 11, 12, 13]
    assert "rng_seed" not in found.parameters
    assert "settings that differ but are not numbers were left out: OPTIM.LR_POLICY" in about.notes
    # Plain ResNets of NDS have no groups, in place of depthwise convolutions.
    found, _ = imported(tmp_path, [nds_job(i) for i in range(3)])
    assert found.bodies.group_widths[0].tolist() == [32, 64, 128]
    assert not {"g", "g1", "b"} & set(found.parameters)
    with pytest.raises(InputError, match=r"no model has 'nonsense'; keys of the first: .*top1_err"):
        imported(tmp_path, sweep, accuracy="nonsense")


def test_a_run_of_failed_trials_is_reported_as_such(tmp_path):
    text = "id,state,error\na,failed,\nb,failed,\n"
    (tmp_path / "import.yaml").write_text("name: x\n")
    (tmp_path / "models.csv").write_text(text)
    (results,) = load_populations([tmp_path])
    found = analyze([results])
    assert (found.populations, found.without_errors) == ((), (results,))
    (warning,) = narrate(found).warnings
    assert warning.startswith("No model of ")
    assert "all 2 trials failed" in warning
    (tmp_path / "models.csv").write_text("id,state,error\na,missing,\nb,complete,5\n")
    with pytest.raises(InputError, match="all_finished=True counts those"):
        load_populations([tmp_path])


def test_the_name_of_an_import_labels_its_curve(tmp_path):
    (tmp_path / "a.csv").write_text("model,error\nresA,11\nresB,12\n")
    import_results(tmp_path / "a.csv", tmp_path / "one", name="My nets")
    import_results(tmp_path / "a.csv", tmp_path / "two", name="My nets")
    (single,) = load_populations([tmp_path / "one"])
    assert single.name == "My nets"
    assert single.ids == ("resA", "resB")
    both = load_populations([tmp_path / "one", tmp_path / "two"])
    assert [results.name for results in both] == [
        f"{tmp_path.name}/one",
        f"{tmp_path.name}/two",
    ]


def test_nested_keys_of_json_maps_are_joined_by_dots(tmp_path):
    text = json.dumps([{"model": m, "net": {"depth": d}, "result": {"error": 30 + d}}
                       for m, d in (("a", 1), ("b", 2))])  # fmt: skip
    found, _ = imported(tmp_path, text, error="result.error")
    assert found.errors.tolist() == [31, 32]
    assert found.parameters["depth"].tolist() == [1, 2]


def test_refine_takes_the_space_of_an_import(tmp_path, cli):
    rows = "".join(f"{30 + i},{10 + i},24,{20 + i},2.2,1,8\n" for i in range(8))
    (tmp_path / "nets.csv").write_text("error,d,w_0,w_a,w_m,b,g\n" + rows)
    assert cli("import", tmp_path / "nets.csv", "--out", tmp_path / "in").code == 0
    words = ("refine", tmp_path / "in", "--out", tmp_path / "mine.yaml")
    assert "name it, such as --space RegNetX" in cli(*words).err
    outcome = cli(*words, "--space", "RegNetX")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("RegNetX (")
