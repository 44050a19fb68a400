"""The whole loop on images that are not RGB: gray scans, and arrays of five channels."""

import json

import numpy as np
import pytest
from PIL import Image

SPACE = """\
name: {name}
parent: RegNetX
reason: Images of {channels} channels.
input: {{resolution: 8, classes: 2, stem_width: 8, stem_stride: 1, strides: [1, 2, 2, 2],
  channels: {channels}}}
axes:
  d: {{distribution: uniform, low: 4, high: 8, step: 1}}
  w_0: {{distribution: log_uniform, low: 8, high: 16, step: 8}}
  w_a: {{distribution: log_uniform, low: 8, high: 16, step: 0.1}}
  g: {{distribution: choice, values: [8]}}
"""


def write_scans(root, channels):
    """Two classes of 40 images; gray ones as 8- and 16-bit PNGs, others as arrays."""
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in range(2):
            folder = root / part / ("healthy", "ill")[label]
            folder.mkdir(parents=True)
            for i in range(40):
                pixels = generator.integers(0, 140, (12, 10, channels)) + 100 * label
                if channels != 1:
                    np.save(folder / f"{i}.npy", pixels.astype(np.uint8))
                elif i % 2:
                    Image.fromarray(pixels[..., 0].astype(np.uint8)).save(folder / f"{i}.png")
                else:
                    wide = (pixels[..., 0] * 257).astype(np.uint16)
                    Image.fromarray(wide).save(folder / f"{i}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 5])
def test_the_loop_on_other_channels(cli, tmp_path, monkeypatch, channels):
    monkeypatch.chdir(tmp_path)
    data = f"folder:{write_scans(tmp_path / 'scans', channels)}"
    (tmp_path / "scans.yaml").write_text(SPACE.format(name="scans", channels=channels))

    def done(*words):
        outcome = cli(*words)
        assert outcome.code == 0, outcome
        return outcome

    done("sample", "scans.yaml", "-n", 3, "--out", "run")
    cost = json.loads(done("complexity", "run:0", "--json").out)
    assert cost["channels"] == channels
    done("train", "run", "--data", data, "--recipe", "quick", "--epochs", 2, "--cache", "c")
    assert json.loads(done("status", "run", "--json").out)["complete"] == 3
    best = json.loads(done("complexity", "run:best", "--json").out)
    assert (best["channels"], best["classes"]) == (channels, 2)
    done("derive", "--from", "run:best", "--scale", 2, "--out", "big.yaml")
    assert json.loads(done("complexity", "big.yaml", "--json").out)["channels"] == channels
    done("export", "run", "--best", 1, "--to", "torchvision", "--to", "onnx", "--out", "out")
    options = ("--data", data, "--recipe", "quick", "--epochs", 1, "--batch-size", 32)
    stem = done("pretrain", "run:best", *options, "--cache", "c", "--out", "trunk")
    assert f"images of {channels} channels have no color" in stem.err
    assert (tmp_path / "trunk" / "report" / "index.html").is_file()
    labels = ("--labels", "50%", "--scratch-epochs", 1, "--seeds", 1, "--cache", "c", "--json")
    scores = json.loads(done("evaluate", "trunk", "--task", "lowshot", *labels).out)
    assert all(0 <= score["mean"] <= 100 for score in scores)
    done("evaluate", "trunk", "--task", "knn", "--seeds", 1, "--cache", "c")
    refused = cli("evaluate", "trunk", "--task", "detect", "--data", f"pasted:{data}")
    assert refused.code == 2
    assert f"takes images of {channels} channels; torchvision's detectors take 3" in refused.err


def test_images_of_other_channels_than_the_space_are_refused(cli, tmp_path):
    data = f"folder:{write_scans(tmp_path / 'scans', 5)}"
    assert cli("sample", "RegNetX@8", "-n", 1, "--out", tmp_path / "run").code == 0
    options = ("--data", data, "--recipe", "quick", "--cache", tmp_path / "c")
    outcome = cli("train", tmp_path / "run", *options)
    assert outcome.code == 2
    assert "has 5 channels where the network takes 3" in outcome.err
