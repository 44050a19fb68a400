"""YAML as people write it is read as they mean it."""

import pytest

from designspace.io.yaml_files import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("5E-5", 5e-5),
        ("-1e+3", -1000.0),
        ("5.0e-5", 5e-5),
        ("5e12", "5e12"),  # the hash of something may look so
        ("123456789e-x", "123456789e-x"),
        ("2026-11-28", "2026-11-28"),
    ],
)
def test_numbers_and_text(text, value):
    read = parse_yaml(f"a: {text}")["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("value", [5e-5, 1e300, "5e-5", "1e+3", "5e12", "7"])
def test_what_is_written_is_read(value):
    assert parse_yaml(dump_yaml({"a": value})) == {"a": value}
