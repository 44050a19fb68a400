"""Journals survive a cut at every byte and notice a change of any byte."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from designspace.errors import InputError
from designspace.io import journal

RECORDS = [
    {"id": "a", "error": 12.5},
    {"id": "b", "curve": [1.0, 2.0]},
    {"id": "ü", "reason": "“x”"},
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trials.jsonl"
    journal.append(path, RECORDS)
    return path


def test_what_is_appended_is_read(path):
    journal.append(path, [{"id": "d"}])
    assert journal.read(path).records == (*RECORDS, {"id": "d"})
    assert all("crc32" in json.loads(line) for line in path.read_text().splitlines())


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "scores.jsonl"

    def write(writer):
        for number in range(50):
            journal.append(path, [{"writer": writer, "number": number}])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    records = journal.read(path).records
    assert {(r["writer"], r["number"]) for r in records} == set(product(range(4), range(50)))


def test_a_missing_journal_is_empty(tmp_path):
    assert journal.read(tmp_path / "none.jsonl").records == ()


def test_after_a_cut_at_any_byte_whole_records_remain_and_appending_works(path):
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        # A record that lacks only its newline is whole.
        expected = tuple(RECORDS[: sum(end - 1 <= cut for end in ends)])
        read = journal.read(path)
        assert read.records == expected, cut
        assert (read.torn_line is None) == (cut in [0, *ends, *(end - 1 for end in ends)])
        journal.append(path, [{"id": "new"}])
        assert journal.read(path) == journal.Journal((*expected, {"id": "new"}))


def test_no_flipped_byte_changes_a_record_unnoticed(path):
    whole = bytearray(path.read_bytes())
    unnoticed = 0
    for i in range(len(whole)):
        flipped = bytearray(whole)
        flipped[i] ^= 0x01
        path.write_bytes(flipped)
        records, message = _read_or_message(path)
        assert message is None or "trials.jsonl, line" in message
        # Not refused are a damaged checksum key and a lost last newline: what is read is true.
        unnoticed += message is None
        for record in records:
            assert any(original.items() <= record.items() for original in RECORDS), (i, record)
    assert unnoticed < 0.2 * len(whole)


def _read_or_message(path):
    try:
        return journal.read(path).records, None
    except InputError as error:
        return (), str(error)


def test_a_damaged_middle_line_names_file_and_line(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("2.0", "3.0") + lines[2])
    with pytest.raises(InputError, match=r"trials.jsonl, line 2: its checksum does not fit"):
        journal.read(path)


def test_records_without_checksum_are_accepted(path):
    with path.open("a") as file:
        file.write('{"id": "by hand"}\n\n')
    assert journal.read(path).records[-1] == {"id": "by hand"}


@pytest.mark.parametrize("line", ["[1]", "5", "nonsense", '{"a": 1'])
def test_other_json_is_refused(path, line):
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 4"):
        journal.read(path)


def test_an_unwritable_journal_is_reported(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        journal.append(tmp_path / "no" / "folder.jsonl", RECORDS)
