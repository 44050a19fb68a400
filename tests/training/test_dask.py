"""Through Dask's own scheduler: a real one, with worker processes."""

import os
import signal
from dataclasses import replace

import pytest
from work_for_tests import always_crashes, at_once, on_a_broken_dask_worker

from designspace.api.run import parse_cluster_options
from designspace.errors import InputError
from designspace.training.dask_workers import DaskWorkers, connect, job_cluster
from designspace.training.run_task import run_task

distributed = pytest.importorskip("distributed")


def results(folder):
    return {t.index: (t.id, t.state, t.error, t.curve, t.seed) for t in folder.trials()}


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed(make_run, request_of, train_one, observer, inline):
    here, there = make_run("here", n=4), make_run("there", n=4)
    request = request_of(recipe=replace(request_of().recipe, epochs=60))
    train_one(here, request, observer, make_workers=lambda *_: inline())
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )

    class Killing(DaskWorkers):
        """Kills a worker process as soon as both are at work."""

        killed = None

        def wait(self, seconds):
            done = super().wait(0.05)
            busy = [worker for worker, keys in self._client.processing().items() if keys]
            if self.killed is None and len(busy) == 2:
                pids = self._client.run(os.getpid)
                self.killed = pids[busy[0]]
                os.kill(self.killed, signal.SIGKILL)
            return done

    made = []

    def make(request, trials):
        client = connect(cluster.scheduler_address, None, {}, 2)
        made.append(Killing(client, run_task))
        return made[0]

    with cluster:
        elsewhere = replace(request, elsewhere=True)
        end = train_one(there, elsewhere, observer, make_workers=make)
    assert made[0].killed is not None
    assert end.complete == 4
    assert results(there) == results(here)
    assert list(there.checkpoints.iterdir()) == []


def test_nothing_at_the_address():
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        connect("tcp://127.0.0.1:1", None, {}, 1, timeout=0.5)


def test_slurm_jobs_have_the_requested_options():
    pytest.importorskip("dask_jobqueue")
    options = ("queue=gpu", "walltime=04:00:00", "memory=8GB")
    cluster = job_cluster("slurm", parse_cluster_options(options))
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert "#SBATCH -p gpu" in script
    assert "#SBATCH -t 04:00:00" in script
    assert "#SBATCH --cpus-per-task=1" in script
    assert "--nthreads 1" in script


def test_slurm_jobs_of_whole_nodes_with_a_dask_cuda_worker_for_each_gpu():
    pytest.importorskip("dask_jobqueue")
    options = ("cores=16", "memory=400GB", "worker_command=dask cuda worker", "account=vision")
    options += ("job_extra_directives=[--gpus=8, --exclusive]",)
    options += ("job_script_prologue=[module load cuda, export OMP_NUM_THREADS=1]",)
    cluster = job_cluster("slurm", parse_cluster_options(options))
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    assert "#SBATCH -A vision" in script
    assert "#SBATCH --gpus=8\n#SBATCH --exclusive" in script
    assert "module load cuda\nexport OMP_NUM_THREADS=1" in script
    assert "-m dask cuda worker tcp://" in script
    assert "--nthreads 16" in script
    assert "--nanny" not in script


@pytest.mark.parametrize(
    ("system", "options", "said"),
    [
        ("slurm", ("queue",), "write KEY=VALUE"),
        ("slurm", ("no_such_option=1",), "no_such_option"),
    ],
)
def test_clusters_that_cannot_be(system, options, said):
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(InputError, match=said):
        job_cluster(system, parse_cluster_options(options))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backend", "ray"), "known: loky, dask"),
        (("--backend", "loky", "--scheduler", "tcp://x:1"), "need --backend dask"),
        (("--scheduler", "x", "--cluster", "slurm"), "exclude each other; give one"),
        (("--cluster-option", "queue=x"), "--cluster-option needs cluster"),
        (("--backend", "dask", "--cluster-option", "queue=x"), "--cluster-option needs cluster"),
    ],
)
def test_options_that_do_not_go_together(make_run, refused, words, said):
    run = make_run().path
    assert said in refused("train", run, "--data", "digits", "--recipe", "quick", *words)


@pytest.mark.slow
def test_waiting_for_workers_that_are_not_there_yet(make_run, request_of, train_one, observer):
    """Trials begin when the first worker comes."""
    cluster = distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )

    class Late(DaskWorkers):
        def wait(self, seconds):
            if not self.slots and self._client.cluster is None:
                cluster.scale(1)
            return super().wait(0.1)

    with cluster:
        folder = make_run(n=1)
        end = train_one(
            folder,
            request_of(elsewhere=True),
            observer,
            make_workers=lambda *_: Late(connect(cluster.scheduler_address, None, {}, 1), run_task),
        )
    assert end.complete == 1


@pytest.mark.slow
def test_a_dask_worker_without_a_usable_device_is_retired(
    make_run, request_of, train_one, observer
):
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )
    run = make_run(n=6)
    with cluster:
        client = connect(cluster.scheduler_address, None, {}, 2)
        workers = DaskWorkers(client, on_a_broken_dask_worker)
        options = request_of(elsewhere=True)
        end = train_one(run, options, observer, make_workers=lambda *_: workers)
    assert (end.complete, end.failed) == (6, 0)
    (note,) = [note for note in observer.notes if "retired" in note]
    assert "Dask worker 1" in note


@pytest.mark.slow
def test_the_signal_that_ended_a_dask_worker_is_named(make_run, request_of, train_one, observer):
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        cluster = distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
    run = make_run(n=2)
    with cluster:
        workers = DaskWorkers(
            connect(cluster.scheduler_address, None, {}, 1), always_crashes, max_trials=1
        )
        options = request_of(elsewhere=True)
        end = train_one(run, options, observer, make_workers=lambda *_: workers)
    assert (end.complete, end.failed) == (1, 1)
    notes = [note for note in observer.notes if "model 0" in note]
    assert all("its worker died (SIGSEGV): Dask worker 0 on 127.0.0.1" in note for note in notes)
    assert "SIGSEGV" in run.trials()[0].reason


def test_each_thread_of_a_worker_trains_a_model(make_run, request_of, train_one, observer):
    """A GPU's worker trains several models at once."""
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, dashboard_address=None, silence_logs=50
    )
    run = make_run(n=4)
    with cluster:
        workers = DaskWorkers(connect(cluster.scheduler_address, None, {}, 1), at_once)
        cluster.wait_for_workers(1)
        assert workers.slots == 3
        end = train_one(run, request_of(elsewhere=True), observer, make_workers=lambda *_: workers)
    assert end.complete == 4


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("slurm", "this machine has no command sbatch"),
        ("pbs", "this machine has no command qsub"),
        ("slurmm", "did you mean slurm"),
    ],
)
def test_a_batch_system_that_is_not_there(make_run, refused, monkeypatch, system, said):
    monkeypatch.setenv("PATH", "")
    run = make_run()
    words = ("--data", "digits", "--recipe", "quick", "--cluster", system)
    assert said in refused("train", run.path, *words)
    assert not run.recipe_file.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("walltime=04:00:00", "04:00:00"),
        ("walltime=1-04:00:00", "1-04:00:00"),
        ("job_extra_directives=[--gres=gpu:1]", ["--gres=gpu:1"]),
        ("cores=4", 4),
        ("queue=gpu", "gpu"),
    ],
)
def test_options_of_a_cluster(text, value):
    assert list(parse_cluster_options([text]).values()) == [value]
    assert parse_cluster_options({"account": None}) == {"account": None}
