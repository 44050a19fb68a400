"""Fixtures that many rooms' tests use."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys):
    """Run the command line in this process, as `cli("sample", "AnyNetXA", ...)`."""

    def run(*words) -> Outcome:
        from designspace.cli.main import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def refused(cli):
    """Run a command that a person got wrong: exit 2, one line, no traceback, nothing printed."""

    def run(*words) -> str:
        outcome = cli(*words)
        assert outcome.code == 2, outcome
        assert "Traceback" not in outcome.err
        assert outcome.err.startswith("designspace: ")
        assert outcome.err.count("\n") == 1, outcome.err
        return outcome.err

    return run
