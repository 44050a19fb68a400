"""Tables as people have them: scales, states, metrics, dialects; whatever is certain is read."""

import numpy as np
import pytest
from foreign_results import imported, pycls_job

import designspace as ds
from designspace.analysis.findings import analyze
from designspace.analysis.load_results import load_results
from designspace.errors import InputError


@pytest.mark.parametrize(
    ("text", "options", "errors"),
    [
        ("model,top1\na,0.71\nb,0.78\n", {}, [29, 22]),
        ("model,top1\na,71\nb,78\n", {}, [29, 22]),
        ("model,top1\na,71%\nb,0.5 %\n", {}, [29, 99.5]),
        ("model,Top-1 acc (%)\na,0.71\nb,0.78\n", {}, [99.29, 99.22]),
        ("model,error\na,0.71\nb,0.78\n", {"scale": "fraction"}, [71, 78]),
        ("model,error\na,0.71\nb,0.78\n", {"scale": "percent"}, [0.71, 0.78]),
        ("model,error\na,0.71%\nb,0.78%\n", {}, [0.71, 0.78]),
    ],
)
def test_scales_are_recognized_where_they_are_certain(tmp_path, text, options, errors):
    found, _ = imported(tmp_path, text, **options)
    assert found.errors.tolist() == pytest.approx(errors)


def test_partial_rows_keep_their_values(tmp_path, cli):
    rows = [f'm{i % 39},{30 + i % 9},"1,{i:03d}.5",{8 + i % 5}' for i in range(40)]
    rows += ["m40,35,,odd", ",,,"]
    found, about = imported(tmp_path, "name,error,flops,d\n" + "\n".join(rows) + "\n")
    assert len(found) == 41
    assert np.isnan(found.parameters["d"]).tolist() == [False] * 40 + [True]
    assert found.costs["flops"][:2].tolist() == [1000.5, 1001.5]
    assert found.ids[:2] == ("m0", "m1")
    assert found.ids[39] == "m0 (2)"
    assert about.notes == [
        "skipped: 1 empty row",
        "unknown values: flops (1 of 41), d (1 of 41, such as 'odd')",
        "repeated: 1 name; later ones are numbered",
    ]
    findings = analyze([found])
    assert findings.populations[0].bootstrap["d"].n == 40
    assert findings.populations[0].trends[0].counts.sum() == 40
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0
    # A model without a description costs the others nothing.
    text = "error,d1,d2,w1,w2\n" + "".join(f"{30 + i},1,{1 + i % 3},16,32\n" for i in range(12))
    found, about = imported(tmp_path, text + "50,,2,16,32\n51,1,2,16,32\n")
    assert found.has_body.tolist() == [True] * 12 + [False, True]
    assert found.provenance.notes[-1] == "1 of 14 models are not described as networks"
    assert analyze([found]).populations[0].widths.rows.tolist() == [*range(12), 13]
    assert cli("analyze", tmp_path / "in", "--out", tmp_path / "out").code == 0


def test_what_may_be_meant_otherwise_is_noted(tmp_path):
    table = "model,error,flops\na,31.5,0.4\nb,nan,0.5\nc,29.9,0.6\n"
    found, about = imported(tmp_path, table)
    assert found.errors.tolist() == [31.5, 100, 29.9]
    assert about.notes == [
        "1 diverged model: counted with the error of chance, 100 %, as the number of classes is "
        "not stated",
        "flops: at most 0.6; where the unit is another, rename the column, such as flops_M or "
        "flops_G",
    ]
    found, about = imported(tmp_path, table.replace("flops", "flops_G"), classes=10)
    assert about.notes[0].endswith("the error of chance, 90 %")
    assert found.costs["flops"].tolist() == [4e8, 5e8, 6e8]


def test_json_lines_and_a_column_of_names(tmp_path):
    lines = [
        '{"tag": "x", "arch": {"d": 3}, "acc": 70}',
        '{"tag": "y", "arch": {"d": 4}, "acc": 80}',
    ]
    text = "\n\n".join(lines)
    found, _ = imported(tmp_path, text, id="tag")
    assert found.ids == ("x", "y")
    assert found.errors.tolist() == [30, 20]
    assert found.parameters["arch.d"].tolist() == [3, 4]
    table = "index,model,error\n0,a,30\n1,b,20\n"
    assert imported(tmp_path, table)[0].ids == ("a", "b")
    assert imported(tmp_path, table, id="index")[0].ids == ("0", "1")


def test_states_of_other_tools_are_translated(tmp_path):
    words = (
        *("COMPLETE", "PRUNED", "FAIL", "RUNNING", "finished", "crashed", "killed"),
        *("diverged-nan", "TrialState.COMPLETE", "Timed out", ""),
    )
    rows = [f"{12.5 if i % 7 else 20},{word}" for i, word in enumerate(words)]
    found, about = imported(tmp_path, "value,State\n" + "\n".join(rows), error="value", classes=10)
    assert found.states.tolist() == [
        *("complete", "failed", "failed", "missing", "complete", "failed", "failed"),
        *("diverged", "complete", "failed", "complete"),
    ]
    assert found.errors[7] == 90
    assert "1 pruned models count as failed: their errors are not final" in about.notes
    text = "error,state\n5,complete\n6,halted\n7,broken\n"
    with pytest.raises(InputError, match=r"'halted' \(1\), 'broken' \(1\); known: .*crashed"):
        imported(tmp_path, text)
    meanings = {"halted": "missing", "broken": "failed"}
    assert imported(tmp_path, text, states=meanings)[0].states[1:].tolist() == ["missing", "failed"]


def test_costs_may_have_units_in_their_cells(tmp_path):
    path = tmp_path / "zoo.csv"
    path.write_text(
        "arch_name,flops,n_params,d,w,error\n"
        "a,400MF,5.2M,12,8k,31.2\n"
        "b,1.6 GFLOPs,9_200_000,14,16,30.1\n"
        "c,398000000,5.1 m,15,24,29.9\n"
        "d,n/a,,16,32,29.5\n"
    )
    ds.import_results(path, tmp_path / "out")
    rows = (tmp_path / "out" / "models.csv").read_text().splitlines()
    assert rows[0] == "id,state,error,flops,params,d,w"
    assert rows[1] == "a,complete,31.2,400000000,5200000,12,"
    assert rows[2] == "b,complete,30.1,1600000000,9200000,14,16"
    assert rows[3] == "c,complete,29.9,398000000,5100000,15,24"
    assert rows[4] == "d,complete,29.5,,,16,32"


def test_columns_that_a_stated_cost_displaces_keep_their_values(tmp_path):
    """macs in billions are the cost; flops, twice as many, are a number beside it."""
    text = "name,error,GMACs,flops,w\na,30,4.0,8000000000,16\nb,31,2.0,4000000000,24\n"
    for options in ({"costs": {"flops": "GMACs"}}, {}):
        found, about = imported(tmp_path, text, **options)
        assert found.costs["flops"].tolist() == [4e9, 2e9]
        assert list(found.parameters) == ["w"]
        assert "column 'flops' is called 'flops (imported)' here" in about.notes


def test_one_column_may_be_two_costs(tmp_path):
    text = "name,error,n\na,30,5\nb,31,7\n"
    found, _ = imported(tmp_path, text, costs={"flops": "n", "acts": "n"})
    assert found.costs["flops"].tolist() == found.costs["acts"].tolist() == [5, 7]


@pytest.mark.parametrize("options", [{}, {"costs": {"params": "param_count"}}])
def test_parameters_that_timm_counts_in_millions(tmp_path, options):
    text = "model,top1,param_count\nresnet50,80.4,25.56\nresnet18,70.1,11.69\n"
    found, _ = imported(tmp_path, text, **options)
    assert found.costs["params"].tolist() == [25_560_000, 11_690_000]


def test_parameters_of_optuna_are_never_costs(tmp_path):
    """`params_b` is the bottleneck ratio of a trial, not billions of parameters."""
    names = ("d", "w_0", "w_a", "w_m", "b", "g", "step")
    header = ",".join(["number", "value", *(f"params_{name}" for name in names), "state"])
    rows = [f"{i},{30 + i},{10 + i},24,{20 + i}.5,2.5,1,8,{i},COMPLETE" for i in range(3)]
    found, _ = imported(tmp_path, "\n".join([header, *rows]), error="value")
    assert not found.costs
    assert found.regnets is not None
    assert found.parameters["b"].tolist() == [1, 1, 1]
    assert found.parameters["step"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "options", "errors", "parameters"),
    [
        ('[{"net": "resnet18", "error": 30.5, "depth": 18}]', {}, [30.5], {"depth": [18]}),
        ('[{"cfg": "a.yaml", "error": 30.5, "depth": 18}]', {}, [30.5], {"depth": [18]}),
        ('[{"name": "a", "error": "30,5", "x": 1.234}]', {"decimal": ","}, [30.5], {"x": [1.234]}),
        ("PK,error\n1,30.5\n", {}, [30.5], {"PK": [1]}),
        ("name,error,state\na,999,diverged\nb,30.5,ok\n", {"classes": 10}, [90, 30.5], {}),
    ],
)
def test_files_that_look_like_others(tmp_path, text, options, errors, parameters):
    found, _ = imported(tmp_path, text, **options)
    assert found.errors.tolist() == errors
    assert {name: values.tolist() for name, values in found.parameters.items()} == parameters


def test_a_column_of_numbers_makes_no_table_of_optuna(tmp_path):
    text = "number,model,top1,params_M\n0,a,70,5.3\n1,b,71,7.8\n"
    found, _ = imported(tmp_path, text)
    assert found.costs["params"].tolist() == [5_300_000, 7_800_000]


def test_metrics_are_no_parameters_unless_stated(tmp_path):
    text = "model,top1,top5,auc,val_loss,GMACs,params_lr,d,seed,infer_samples_per_sec\n" + "".join(
        f"m{i},{70 + i},{90 + i / 2},0.{i},1.{i},0.{4 + i},1e-{i},{10 + i},{i},{900 + i}\n"
        for i in range(1, 6)
    )
    found, about = imported(tmp_path, text)
    assert list(found.parameters) == ["lr", "d"]
    assert found.costs["flops"][0] == pytest.approx(0.5e9)
    assert "flops: column 'GMACs' in units of 1e+09" in about.notes
    assert any(
        n.startswith("not design parameters, judging by their names: top5") for n in about.notes
    )
    found, _ = imported(tmp_path, text, parameters=["auc", "d"])
    assert list(found.parameters) == ["auc", "d"]
    found, _ = imported(tmp_path, text, metrics=["params_lr"], labels=["d"])
    assert list(found.parameters) == []
    found, _ = imported(tmp_path, text, costs={"acts": "d"})
    assert set(found.costs) == {"flops", "acts"}
    with pytest.raises(InputError, match="parameters: no numeric column 'depth'"):
        imported(tmp_path, text, parameters=["depth"])


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("name, error, x\na, 12.5, 1013.01\nb, 13.5, N/A\n", {}),
        ("name;error;x\na;12,5;1.013,01\nb;13,5;-\n", {}),
        ("name\terror\tx\na\t12.5\t1013.01\nb\t13.5\t\n", {}),
        ("name;error;x\na;12,500;1013,01\nb;13,500;n.a.\n", {}),
        ('name,error,x\na,12.5,"1,013.01"\nb,13.5%,\n', {}),
        ("name,error,x\na,12.5,1013.01\nb,13.5,\n".encode("utf-16"), {}),
        (b"\xef\xbb\xbfname,error,x\r\na,12.5,1013.01\r\nb,13.5,\r\n", {}),
        ("name;error;x\na;12,500;1013,010\nb;13,500;?\n", {"decimal": ","}),
        ("name,error,x,\na,12.5,1013.01,\nb,13.5,,\n", {}),
        ([{"name": "a", "error": 12.5, "x": 1013.01}, {"name": "b", "error": 13.5}], {}),
    ],
)
def test_tables_as_people_have_them(tmp_path, content, options):
    found, _ = imported(tmp_path, content, **options)
    assert found.ids == ("a", "b")
    assert found.errors.tolist() == [12.5, 13.5]
    np.testing.assert_array_equal(found.parameters["x"], [1013.01, np.nan])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("error;x\n12,500;1\n13,250;2\n", "decimal is unclear: '12,500'"),
        ("error;x\n12,5;1.5\n13,25;2\n", "decimal is unclear"),
        ("error,x\nlow,1\nhigh,2\n5,3\n", "line 2: 'low'; line 3: 'high'"),
        ("error,x\n101,1\n-3,2\n5,3\n", "model 0: 101, model 1: -3"),
        ("error,x\n5,1\n5,1,7,8\n", "these lines have more: 3"),
        ("\n\nerror,x\n\n5,1\n,\n\nlow,1\n", r"empty; line 8: 'low'"),
        ('name,error\n"a\nb",5\n\nc,low\n', r"empty; line 5: 'low'"),
        ("error,x\n\n5,1\n\n5,1,7,8\n", "these lines have more: 5"),
        ([{"error": 5}, {"error": "low"}], r"empty; model 1: 'low'"),
        (b"PK\x03\x04", "a workbook"),
    ],
)
def test_all_problems_of_a_table_are_reported_at_once(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        imported(tmp_path, content)


@pytest.mark.parametrize("classes", [1, 0, -1])
def test_fewer_than_two_classes_have_no_chance_error(tmp_path, classes):
    with pytest.raises(InputError, match=f"^classes is {classes}; it must be at least 2") as error:
        imported(tmp_path, "error,state\n5,ok\n6,diverged\n", classes=classes)
    assert error.value.argument == "classes"


def test_labels_are_columns_of_the_file(tmp_path):
    text = "name,error,kind,x\na,5,s,1\nb,6,t,2\n"
    found, _ = imported(tmp_path, text, labels=["name", "kind", "x"])
    assert not found.parameters
    with pytest.raises(InputError, match=r"^labels: no column 'kidn'; did you mean kind") as error:
        imported(tmp_path, text, labels=["kidn"])
    assert error.value.argument == "labels"
    sweep = [pycls_job(i) for i in range(3)]
    for i, job in enumerate(sweep):
        job["cfg"]["OPTIM"]["LR_POLICY"] = "cos" if i else "exp"
    found, _ = imported(tmp_path, sweep, labels=["lr", "OPTIM.LR_POLICY"])
    assert "lr" not in found.parameters


def test_costs_with_units_are_whole(tmp_path):
    text = "name,error,flops,MParams,acts\na,5,4.1M,4.1,1000.5\nb,6,8.2 MF,8.3,7\n"
    found, _ = imported(tmp_path, text)
    costs = {name: values.tolist() for name, values in found.costs.items()}
    assert costs == {"flops": [4.1e6, 8.2e6], "params": [4.1e6, 8.3e6], "acts": [1000.5, 7]}


@pytest.mark.parametrize(
    ("header", "right", "broken"),
    [
        ("d,w_0,w_a,w_m,b,g", "13,24,20,2.4,1,8", ["13.7,24,20,2.4,1,8", "13,24,20,2.4,1,8.5"]),
        ("d1,w1,g1", "2,24,8", ["1.7,24,8", "2,24.5,24.5", "2,25,12.5"]),
    ],
)
def test_rows_with_a_fraction_of_a_block_or_channel_are_no_networks(
    tmp_path, header, right, broken
):
    rows = [right] * 4 + broken
    text = f"error,{header}\n" + "".join(f"{30 + i},{row}\n" for i, row in enumerate(rows))
    found, _ = imported(tmp_path, text)
    assert found.has_body.tolist() == [True] * 4 + [False] * len(broken)


def test_a_damaged_folder_names_the_lines_of_the_file(tmp_path):
    imported(tmp_path, "error,x\n5,1\n6,2\n")
    models = tmp_path / "in" / "models.csv"
    models.write_text("id,state,error,x\n\na,complete,5,1\n\nb,complet,6,one\n")
    with pytest.raises(InputError, match=r"line 5, x: 'one' .*; line 5: state is 'complet'"):
        load_results(tmp_path / "in")


def test_a_folder_saved_by_a_spreadsheet(tmp_path):
    (tmp_path / "import.yaml").write_text("name: mine\n")
    text = "\ufeffid,state,error,x\na,complete,30.5,1\n"
    (tmp_path / "models.csv").write_text(text, encoding="utf-8")
    assert load_results(tmp_path).errors.tolist() == [30.5]


def test_an_input_of_fewer_stages_than_the_networks_have(tmp_path):
    stages = ",".join(f"{axis}{i}" for axis in "dw" for i in range(1, 6))
    text = f"error,{stages}\n30,1,1,2,2,1,16,24,32,48,64\n31,1,1,2,3,1,16,24,32,48,64\n"
    found, about = imported(tmp_path, text)
    assert found.bodies.num_stages == 5
    assert about.input is None
    with pytest.raises(InputError, match="for 4 stages; these networks have 5"):
        imported(tmp_path, text, input="imagenet")


def test_the_table_of_a_run_is_imported_as_it_was(tmp_path):
    run = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")
    for index in range(3):
        run.record(index, error=30 + index)
    run.to_frame().to_csv(tmp_path / "run.csv")
    about = ds.import_results(tmp_path / "run.csv", tmp_path / "own").about
    assert "column 'index' that only numbers the rows was left out" in about.notes
    found = load_results(tmp_path / "own")
    assert not [name for name in found.parameters if "index" in name]
    assert found.errors.tolist() == [30, 31, 32]


def test_an_error_with_the_name_of_an_accuracy_is_noted(tmp_path):
    _, about = imported(tmp_path, "m,acc,loss\na,71,1\nb,72,2\n", error="acc")
    assert any("has the name of an accuracy" in note for note in about.notes)
    _, about = imported(tmp_path, "m,acc,loss\na,71,1\nb,72,2\n", accuracy="acc")
    assert not any("has the name of an accuracy" in note for note in about.notes)


def test_percent_is_no_fraction(tmp_path):
    with pytest.raises(InputError, match="top1 has 72, so that it holds no fractions"):
        imported(tmp_path, "model,top1\na,71\nb,72\n", scale="fraction")


def test_a_single_name_and_pairs_of_text_are_taken(tmp_path):
    text = "model,error,top5,MACs,state\na,30,10,1e6,halted\nb,29,9,2e6,ok\n"
    found, _ = imported(
        tmp_path, text, metrics="top5", costs="flops=MACs", states=["halted=failed"]
    )
    assert found.costs["flops"].tolist() == [1e6, 2e6]
    assert found.states.tolist() == ["failed", "complete"]


@pytest.mark.parametrize(
    "options",
    [{"costs": ["flops"]}, {"costs": {"flops": 3}}, {"metrics": [3]}, {"labels": 3}],
)
def test_arguments_of_another_kind_are_named(tmp_path, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} is "):
        imported(tmp_path, "model,error,x\na,30,1\nb,29,2\n", **options)
