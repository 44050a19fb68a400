"""`designspace derive`, `complexity` and `explain`, as people type them."""

import json

import pytest

KEYS = {
    "name", "resolution", "classes", "flops", "params", "acts", "depths", "widths",
    "group_widths", "bottleneck_ratios", "se_ratio",
}  # fmt: skip


def test_128gf_to_256gf_and_its_complexity(cli, tmp_path):
    out = tmp_path / "m.yaml"
    outcome = cli("derive", "--from", "RegNetY-128GF", "--flops", "256G", "--out", out)
    assert outcome.code == 0
    assert "widths 746 1492 4103 10444" in outcome.out
    record = json.loads(cli("complexity", out, "--json").out)
    assert set(record) == KEYS
    assert record["flops"] == 254_384_928_298
    assert record["params"] == 1_282_601_138
    assert record["widths"] == [746, 1492, 4103, 10444]


def test_without_a_start_the_nearest_published_model_is_it(cli, tmp_path):
    words = ("derive", "--family", "regnety", "--flops", "256G", "--out", tmp_path / "m.yaml")
    outcome = cli(*words)
    assert "Start from RegNetY-256GF" in outcome.out
    assert json.loads(cli(*words, "--json").out)["params"] == 1_282_601_138


def test_complexity_prints_exactly_the_promised_keys(cli):
    record = json.loads(cli("complexity", "RegNetY-128GF", "--json").out)
    assert set(record) == KEYS
    assert (record["flops"], record["params"]) == (127_517_896_350, 644_812_894)
    small = json.loads(cli("complexity", "RegNetY-128GF", "--resolution", 96, "--json").out)
    assert small["params"] == record["params"]
    assert small["flops"] < record["flops"] / 5
    assert "127,517,896,350" in cli("complexity", "RegNetY-128GF").out


def test_prediction_and_ratio(cli, tmp_path):
    words = ("derive", "--from", "RegNetY-1.6GF", "--scale", 4, "--rule", "fast")
    words += ("--memory-batch", 32)
    record = json.loads(cli(*words, "--out", tmp_path / "m.yaml", "--json").out)
    prediction = record["prediction"]
    assert prediction["flops"]["value"] == record["flops"]
    assert prediction["flops"]["ratio"] == pytest.approx(4, rel=0.1)
    assert prediction["memory"]["value"] == 4 * (3 * record["params"] + 64 * record["acts"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--family", "regnety"], "give one target"),
        (["--flops", "1G", "--params", "1M"], "give one target"),
        (["--flops", "1G"], "pass --from, a model"),
        (["--family", "regnetz", "--flops", "1G"], "no family 'regnetz'"),
        (["--family", "regnety", "--flops", "lots"], "flops: 'lots'"),
        (["--family", "regnety", "--flops", "-1"], "flops: '-1'"),
        (["--family", "regnety", "--flops", "400"], "did you mean --flops 400M?"),
        (["--from", "RegNetY-128FG", "--flops", "1G"], "did you mean"),
        (["--from", "nowhere.yaml", "--flops", "1G"], "no file nowhere.yaml"),
        (["--from", "RegNetY-16GF", "--scale", "0"], "scale is 0"),
        (["--from", "RegNetY-16GF", "--scale", "nan"], "scale is nan"),
        (["--from", "RegNetY-16GF", "--scale", "2", "--rule", "tall"], "no scaling rule"),
        (["--from", "RegNetY-16GF", "--scale", "2", "--memory-batch", "0"], "--memory-batch is 0"),
        (["--from", "RegNetY-16GF", "--scale", "2", "--resolution", "0"], "resolution is 0"),
        (["--from", "RegNetY-16GF", "--scale", "1e8"], "gives no model"),
        (["--from", "RegNetY-16GF", "--scale", "2", "--name", "../x"], "can't name a network"),
        (["--from", "RegNetY-16GF", "--scale", "2", "--name", "é"], "can't name a network"),
    ],
)
def test_mistakes_are_reported_in_one_line(refused, tmp_path, words, message):
    assert message in refused("derive", *words, "--out", tmp_path / "m.yaml")
    assert not (tmp_path / "m.yaml").exists()


@pytest.mark.parametrize(
    ("words", "flagged"),
    [
        (("--scale", 1.3), "a target, such as --flops 258.8M, is reached more exactly"),
        (("--flops", "17.4M", "--rule", "resolution"), "; --rule fast comes within"),
    ],
)
def test_warnings_name_flags(cli, tmp_path, words, flagged):
    command = ("derive", "--from", "RegNetX-200MF", *words, "--out", tmp_path / "m.yaml")
    assert flagged in cli(*command).out
    assert flagged in json.loads(cli(*command, "--json").out)["warnings"][0]


def test_explain_256gf(cli):
    outcome = " ".join(cli("explain", "RegNetY-256GF").out.split())
    for words in (
        "It is RegNetY-128GF with 2 times the flops",
        "456 -> 648",
        "Those widths are RegNetY-128GF's",
        "695.5M parameters fit neither",
        "637.4M",
        "1,431.0M",
        "640 1696 2544 5088",
    ):
        assert words in outcome


@pytest.mark.parametrize("name", ["RegNetX-200MF", "RegNetY-16GF", "RegNetY-10B"])
def test_explain_other_models(cli, name):
    outcome = cli("explain", name, "--json")
    record = json.loads(outcome.out)
    assert record["name"] == name
    assert "popular description" not in " ".join(record["explanation"])


def test_explain_a_network_of_another_block(cli):
    outcome = " ".join(cli("explain", "EfficientNet-B0").out.split())
    assert "mbconv blocks; t 1 6 6 6 6 6 6; k 3 3 5 3 5 5 3; squeeze" in outcome
    assert "group width" not in outcome


def test_explain_names_the_provenance_of_a_derived_model(cli, tmp_path):
    out = tmp_path / "m.yaml"
    cli("derive", "--from", "RegNetX-400MF", "--scale", 3, "--rule", "dw", "--out", out)
    outcome = cli("explain", out).out
    assert "parent: RegNetX-400MF" in outcome
    assert "rule: dw" in outcome
