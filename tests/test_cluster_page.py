"""The scripts of the page for clusters, on one machine: Slurm's commands are stand-ins."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.runs import Run

PAGE = Path(__file__).parents[1] / "results" / "README.md"
SMALLER = {
    "AnyNetXA@32 -n 500 --flops 10M:30M": "AnyNetXE@8 -n 4 --flops 100K:300K",
    "--data cifar10 --recipe cifar": "--data digits --recipe quick --epochs 2 --jobs 1",
    "ID * 63": "ID * 2",
    "first + 62 < 499 ? first + 62 : 499": "first + 1 < 3 ? first + 1 : 3",
    "--nproc-per-node 8": "--nproc-per-node 1",
    "RegNetY-16GF --data imagenet:/data/imagenet --recipe swav": (
        "model.yaml --data digits --recipe quick --epochs 1 --threads 1 --device cpu"
    ),
}
COMMANDS = {
    "designspace": f'exec {sys.executable} -m designspace "$@"',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    "scontrol": 'if [ $1 = show ]; then echo localhost; else echo "$@" >> requeued; fi',
    "srun": '"$@" & "$@" & wait',  # on two nodes
}


@pytest.fixture
def scripts():
    """The scripts, in order: one node, a job array, its end, and several nodes."""
    section = PAGE.read_text().split("## On a cluster")[1].split("\n## ")[0]
    texts = re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S)
    for long, short in SMALLER.items():
        assert any(long in text for text in texts), long
        texts = [text.replace(long, short) for text in texts]
    return texts


@pytest.fixture
def start(tmp_path):
    """Start a script in the folder of the test with Slurm's variables."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)

    def start(script, **variables):
        environment = {**os.environ, "SCRATCH": str(tmp_path), **variables}
        environment["PATH"] = f"{folder}:{environment['PATH']}"
        return subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def finished(process):
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_one_node(scripts, start, tmp_path):
    assert "4 models: 4 complete\nfinished" in finished(start(scripts[0]))


@pytest.mark.slow
def test_a_job_array_is_requeued_at_the_walltime_and_merged(scripts, start, tmp_path):
    variables = {"SLURM_ARRAY_JOB_ID": "7"}
    process = start(scripts[1], **variables, SLURM_ARRAY_TASK_ID="0")
    part = tmp_path / "parts" / "0"
    while process.poll() is None and not list(part.glob("running.json")):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGUSR1)  # as Slurm does before the walltime
    process.communicate(timeout=60)
    assert (tmp_path / "requeued").read_text() == "requeue 7_0\n"
    os.killpg(process.pid, signal.SIGKILL)  # what is left of the job
    for task in ("0", "1"):
        finished(start(scripts[1], **variables, SLURM_ARRAY_TASK_ID=task))
    output = finished(start(scripts[2]))
    assert output.count("2 complete, 2 waiting") == 2
    assert [t.index for t in Run.open(tmp_path / "whole").trials()] == [0, 1, 2, 3]


@pytest.mark.slow
def test_several_nodes(scripts, start, tmp_path):
    write_model(SMALL, tmp_path / "model.yaml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = scripts[3].replace(":29500", f":{port}")
    output = finished(start(script, SLURM_NNODES="2", SLURM_JOB_NODELIST="a,b", SLURM_JOB_ID="7"))
    assert output.count("trunk in") == 1
    assert PretrainRun(tmp_path / "trunk").trunk_file.exists()
