"""How many models a GPU trains at once, on an imitated GPU of a known throughput and memory."""

import heapq
import threading
import time
from multiprocessing import Pipe

import pytest
from work_for_tests import at_once

from designspace.training import concurrency, gpu_workers
from designspace.training.concurrency import Concurrency, report_steps

GIB = 1 << 30


class Gpu:
    """Steps per second of k models together are `curve(k)` for models of average cost.

    A model's steps are finished later than they are launched: in chunks of 50, whose time depends
    on how many models train when a chunk begins. Each model first trains alone on the host for a
    second, and validates for a while after every eighth chunk.
    """

    def __init__(self, curve, memory=None, each=4 * GIB, data=GIB, chunks=200):
        self.curve, self.total, self.each, self.data = curve, memory, each, data
        self.chunks, self.now, self.models = chunks, 0.0, {}

    def memory(self):
        if self.total is None:
            return None
        used = len(self.models) * self.each + (self.data if self.models else 0)
        return self.total - used, self.total

    def train(self, n=150, at_once=1, costs=(1.0, 0.3, 2.0, 5.0, 0.7)):
        """Train n models; return the choice, and the most models that ever trained at once."""
        choice = Concurrency(self.memory, at_once, clock=lambda: self.now)
        waiting, events, most = list(range(n)), [], 0
        while waiting or self.models:
            while waiting and len(self.models) < choice.at_once:
                model = waiting.pop(0)
                choice.begin(model)
                self.models[model] = 0
                heapq.heappush(events, (self.now + 1.0, model, 0.0))
            most = max(most, len(self.models))
            self.now, model, took = heapq.heappop(events)
            if took:
                choice.steps(model, 50, took)
                self.models[model] += 1
            if self.models[model] == self.chunks:
                del self.models[model]
                choice.end(model)
                continue
            k = len(self.models)
            took = 50 * costs[model % len(costs)] * k / self.curve(k)
            pause = 2.0 if self.models[model] % 8 == 7 else 0.0
            heapq.heappush(events, (self.now + pause + took, model, took))
        return choice, most


@pytest.mark.parametrize(
    ("curve", "chosen", "reason"),
    [
        (lambda k: 250.0, 1, "2 are 0% slower together"),
        (lambda k: 250.0 * min(k, 4), 4, "8 are "),
        (lambda k: 250.0 * min(k, 3), 4, "8 are "),
        (lambda k: 250.0 * k / (1 + k / 3), 16, "32 are "),
        (lambda k: 250.0 * k / (1 + (k / 9) ** 2), 8, "16 are "),
        (lambda k: 250.0 * k**0.9, 32, "more are not tried"),
    ],
    ids=["host-bound", "four", "three", "saturating", "falling", "never full"],
)
def test_models_are_added_while_all_together_become_faster(curve, chosen, reason):
    """Whatever their own speeds are: the costs of the models differ by a factor of 16."""
    choice, most = Gpu(curve, chunks=400).train()
    assert choice.at_once == chosen
    assert choice.reason.startswith(reason)
    assert most == min(2 * chosen, 32)


@pytest.mark.parametrize(("gib", "most"), [(20, 4), (60, 13), (140, 31), (10, 1)])
def test_memory_bounds_how_many(gib, most):
    """Models of 4 GiB, 1 GiB of images, and a tenth of the memory that stays free."""
    gpu = Gpu(lambda k: 250.0 * k, memory=gib * GIB, chunks=300)
    choice, tried = gpu.train()
    assert most / 2 < choice.at_once <= most
    assert choice.at_once == tried
    assert choice.reason == "the GPU's memory holds no more"


def test_models_that_end_before_they_are_measured():
    choice, _ = Gpu(lambda k: 250.0 * k, chunks=3).train()
    assert (choice.at_once, choice.reason) == (16, "they end before their speed can be measured")
    choice, _ = Gpu(lambda k: 250.0 * k, memory=20 * GIB, chunks=3).train()
    assert choice.at_once == 3


def test_a_new_process_goes_on_from_where_the_last_one_was():
    choice, _ = Gpu(lambda k: 250.0 * min(k, 20), chunks=400).train(at_once=8)
    assert choice.at_once == 32
    choice, most = Gpu(lambda k: 250.0, chunks=400).train(at_once=8)
    assert choice.at_once == 8
    assert most == 16


def test_one_more_model_than_memory_holds_is_one_less():
    choice = Concurrency(lambda: None, at_once=4)
    for model in range(4):
        choice.begin(model)
    assert choice.end(0, out_of_memory=True)
    assert (choice.at_once, choice.reason) == (3, "one more was out of memory")
    assert not choice.steps(1, 50, 9.0)
    for model in (1, 2):
        assert not choice.end(model)
    # Alone, a model is too large by itself.
    assert not choice.end(3, out_of_memory=True)
    assert choice.at_once == 3


def test_a_gpus_process_says_how_many_to_send(make_task, monkeypatch):
    """The steps of its threads, which share a device that is full with two."""
    monkeypatch.setattr(concurrency, "_MEASURED_SECONDS", 0.05)
    monkeypatch.setattr(gpu_workers.sys, "setswitchinterval", lambda seconds: None)
    end = threading.Event()

    def work(task):
        while not end.is_set():
            k = sum(t.name.startswith("model-") for t in threading.enumerate())
            seconds = 0.02 * k / min(k, 2)
            time.sleep(seconds)
            report_steps(10, seconds)  # on a busy machine the sleep is longer
        return at_once(task)

    ours, theirs = Pipe()
    serve = threading.Thread(
        target=gpu_workers._serve, args=(work, theirs, ("cpu", 1)), daemon=True
    )
    serve.start()
    sent, seen = 0, []
    slots = 1
    while not seen or not seen[-1].reason:
        while sent < slots:
            ours.send(make_task(sent))
            sent += 1
        assert ours.poll(20)
        seen.append(ours.recv())
        slots = seen[-1].models
    end.set()
    assert sorted(ours.recv()[0] for _ in range(sent)) == [(0, i) for i in range(4)]
    ours.close()
    serve.join(20)
    assert not serve.is_alive()
    assert [message.models for message in seen] == [2, 4, 2]
    assert seen[-1].reason.startswith("4 are ")


def test_steps_are_reported_to_the_thread_that_trains():
    seen = []
    concurrency.observe_steps(lambda steps, seconds: seen.append(steps))
    other = threading.Thread(target=report_steps, args=(7, 1.0))
    other.start()
    other.join()
    report_steps(50, 1.0)
    concurrency._OBSERVER.set(None)
    report_steps(50, 1.0)
    assert seen == [50]
