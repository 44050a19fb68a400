"""Results of other tools, and how tests import them."""

import json

from designspace.analysis.load_results import load_results
from designspace.importing.import_results import import_results


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


def imported(tmp_path, content, **options):
    """The result of importing a text (or bytes, or JSON data), as analysis reads it back."""
    source = tmp_path / "their.csv"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        source.write_text(content if isinstance(content, str) else json.dumps(content))
    result = import_results(source, tmp_path / "in", **options, force=True)
    return load_results(tmp_path / "in"), result.about
