"""Measure models on a device, several at a time, one record each."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from designspace.arch import Model
from designspace.errors import InputError
from designspace.measurement import peak_memory
from designspace.measurement.machine_load import MachineLoad
from designspace.measurement.measure_options import MeasureOptions
from designspace.measurement.timed_step import Step, calibrate, inference_step, training_step
from designspace.measurement.timing import MAX_LOAD, Turn, time_interleaved
from designspace.networks import build
from designspace.runs.measurements import MeasuredSetting, Measurement
from designspace.runs.recipe import Precision
from designspace.training import device_setup, devices

# Models that take turns; more would wait too long between theirs, and fill the memory.
GROUP = 8
_OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Target:
    """A device that is ready to measure.

    Attributes:
        device: The device.
        precision: Of the network.
        threads: CPU threads.
    """

    device: torch.device
    precision: Precision
    threads: int

    @staticmethod
    def of(options: MeasureOptions) -> "Target":
        """Resolve the options on this machine.

        Raises:
            InputError: The machine lacks the device, or the device the precision.
        """
        device = torch.device(devices.resolve_devices(options.device)[0])
        device_setup.check_precision(device, options.precision)
        default: Precision = (
            "tf32" if device.type == "cuda" and device_setup.has_tf32(device) else "fp32"
        )
        threads = (options.threads or devices.available_cores()) if device.type == "cpu" else 1
        return Target(device, options.precision or default, threads)

    def setting(self, resolution: int, options: MeasureOptions) -> MeasuredSetting:
        """Return the setting of a measurement, as in its record."""
        return MeasuredSetting(
            device=device_setup.device_name(self.device),
            threads=self.threads,
            batch=options.batch,
            precision=self.precision,
            mode=options.mode,
            compile=options.compile,
            resolution=resolution,
            torch=str(torch.__version__),
        )


def measure_models(
    models: Sequence[Model],
    options: MeasureOptions,
    done: Callable[[list[Measurement]], None],
) -> None:
    """Measure models, in groups whose members take turns.

    Args:
        models: The models, in order.
        options: How.
        done: Receives the measurements of each group.

    Raises:
        InputError: The machine lacks the device, or the device the precision.
    """
    target = Target.of(options)
    with _device_state(target) as autocast:
        for first in range(0, len(models), GROUP):
            group = models[first : first + GROUP]
            results = _measure_group(group, options, target, autocast)
            for i, result in enumerate(results):
                if result.failure == _OUT_OF_MEMORY and len(group) > 1:  # others filled the memory
                    _free(target)
                    [results[i]] = _measure_group([group[i]], options, target, autocast)
            _free(target)
            done(results)


def _measure_group(
    models: Sequence[Model],
    options: MeasureOptions,
    target: Target,
    autocast: torch.dtype | None,
) -> list[Measurement]:
    results = [_record(model, options, target) for model in models]
    turns: dict[int, Turn] = {}
    for i, model in enumerate(models):
        try:
            step, memory, method = _prepare(model, options, target, autocast)
        except Exception as error:
            if not device_setup.is_out_of_memory(error):
                raise
            results[i] = replace(results[i], failure=_OUT_OF_MEMORY)
            continue
        turns[i] = _turn(step, target)
        results[i] = replace(results[i], memory=memory, memory_method=method)
    load = MachineLoad()
    timings = time_interleaved(list(turns.values()), options.time_limit)
    share = load.share()
    for i, timing in zip(turns, timings, strict=True):
        results[i] = replace(
            results[i],
            latency=timing.median,
            low=timing.low,
            high=timing.high,
            n=timing.n,
            rounds=timing.rounds,
            noise=round(timing.noise, 4),
            load=round(share, 3),
            noisy=timing.noisy or share > MAX_LOAD,
        )
    return results


def _record(model: Model, options: MeasureOptions, target: Target) -> Measurement:
    return Measurement(
        id=model.body.id,
        name=model.name,
        flops=model.flops,
        params=model.params,
        acts=model.acts,
        depth=sum(model.body.depths),
        setting=target.setting(model.skeleton.resolution, options),
        latency=None,
        versions=device_setup.versions(target.device, target.precision),
    )


def _prepare(
    model: Model, options: MeasureOptions, target: Target, autocast: torch.dtype | None
) -> tuple[Step, int | None, str]:
    """Build a network and run its step once.

    Returns:
        The step, its peak memory in bytes or None where it is unknown, and what that counts.
    """
    training, device = options.mode == "training", target.device
    cuda, side = device.type == "cuda", model.skeleton.resolution
    shape = (options.batch, model.skeleton.channels, side, side)
    memory: int | None = None
    if not cuda and (options.memory or _least_bytes(model, options) > _total_memory() / 4):
        memory = _count_on_meta(model, shape, training)
        if memory is not None and memory > _total_memory():
            raise MemoryError
    occupied = torch.cuda.memory_allocated(device) if cuda else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = build(model).to(device=device, memory_format=torch.channels_last)
        generator = torch.Generator(device).manual_seed(0)
        images = torch.rand(shape, generator=generator, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        if not training:
            calibrate(network, images)
    network.train(training)
    forward = torch.compile(network) if options.compile else network
    if training:
        step = training_step(network, forward, images, autocast)
    else:
        step = inference_step(forward, images, autocast)
    _first_step(step, model, options)
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        memory = torch.cuda.max_memory_allocated(device) - occupied
    if not options.memory:
        return step, None, ""
    return step, memory, peak_memory.ALLOCATOR if cuda else peak_memory.TENSORS


def _first_step(step: Step, model: Model, options: MeasureOptions) -> None:
    try:
        step()
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"batch is {options.batch}; {model.name} turns an image into one pixel, so that "
            "BatchNorm can't be trained on one image; use at least 2",
            "batch",
        ) from None


def _count_on_meta(model: Model, shape: tuple[int, ...], training: bool) -> int | None:
    """Return the peak bytes of a step, or None for a network that can't run on `meta`."""
    try:
        with torch.random.fork_rng(devices=[]):
            network = build(model, device="meta")
            images = torch.empty(shape, device="meta")
            return peak_memory.count_live_bytes(network, images, training)
    except (RuntimeError, ValueError):
        return None


def _least_bytes(model: Model, options: MeasureOptions) -> int:
    """Return bytes of weights and images, in training also gradients, momentum, activations."""
    images = options.batch * model.skeleton.channels * model.skeleton.resolution**2
    if options.mode == "training":
        return 4 * (3 * model.params + model.acts * options.batch + images)
    return 4 * (model.params + images)


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _turn(step: Step, target: Target) -> Turn:
    if target.device.type == "cuda":
        return _event_turn(step)
    if target.device.type == "mps":
        return _turn_of(partial(_synchronized, step), 1)
    return _turn_of(step, target.threads)


def _synchronized(step: Step) -> None:
    step()
    torch.mps.synchronize()


def _turn_of(step: Step, threads: int) -> Turn:
    # Its import looks for CUDA's compiler, and warns where that is installed without a GPU.
    logging.getLogger("torch.utils.cpp_extension").addFilter(_is_not_about_cuda)
    from torch.utils.benchmark import Timer

    timer = Timer("step()", globals={"step": step}, num_threads=threads)
    return lambda seconds: timer.blocked_autorange(min_run_time=seconds).times


def _is_not_about_cuda(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("No CUDA runtime is found")


def _event_turn(step: Step) -> Turn:
    """Time each step between two CUDA events, without waiting for it on the host."""

    def turn(seconds: float) -> Sequence[float]:
        first = _timed(step, 1)[0]
        return _timed(step, max(1, min(10_000, int(seconds / max(first, 1e-6)))))

    return turn


def _timed(step: Step, count: int) -> list[float]:
    make = partial(torch.cuda.Event, enable_timing=True)
    events = [(make(), make()) for _ in range(count)]
    for start, end in events:
        start.record()
        step()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1000 for start, end in events]


@contextmanager
def _device_state(target: Target) -> Iterator[torch.dtype | None]:
    """Set this process up for a device, yield the autocast type, and restore the process."""
    threads = torch.get_num_threads()
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    names = (("benchmark", "deterministic", "allow_tf32"), ("allow_tf32",))
    before = [
        (backend, name, getattr(backend, name))
        for backend, of in zip(backends, names, strict=True)
        for name in of
    ]
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    current = torch.cuda.current_device() if target.device.type == "cuda" else None
    try:
        yield device_setup.prepare(
            target.device, threads=target.threads, precision=target.precision
        )
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if current is not None:
            torch.cuda.set_device(current)
        for backend, name, value in before:
            setattr(backend, name, value)


def _free(target: Target) -> None:
    """Return freed memory to the system, so that the next group has all of it."""
    torch.compiler.reset()
    if target.device.type == "cuda":
        torch.cuda.empty_cache()
