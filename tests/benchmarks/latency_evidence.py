"""Does time follow activations, and are RegNets faster? `make latency-evidence`.

1. 200 models each of RegNetX@32 and AnyNetXA@32 at one flop budget: the correlation of time with
   flops, activations, parameters and depth, in inference and training.
2. RegNetY-400MF to 16GF, EfficientNet-B0 to B5 and ResNet-50 at their published resolutions: images
   a second in inference, beside what the paper's authors measured on a V100.
3. RegNetX, MobileNetV2-like and ConvNeXt-like spaces, as far as results/reference has trained them:
   errors at equal flops and at equal latency, in a report of their own.

Everything is recorded in measurements.jsonl files, so that the same command resumes. It takes about
20 minutes on two quiet cores; nothing else should run.
"""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

import designspace as ds
from designspace.analysis.trade_off_text import trade_off_sentences
from designspace.measurement.latency_model import COSTS
from designspace.runs.measurements import Measurement

SPACES, BUDGET = ("RegNetX@32", "AnyNetXA@32"), "10M±20%"
MODES = ("inference", "training")
# Populations of the reference study whose errors are set against flops and latency, and how many
# trained models of each that takes.
FAMILIES = ("regnetx", "mobilenetv2-like", "convnext-like")
FEWEST = 16
# Milliseconds of 64 images on one V100 with PyTorch 1.6, CUDA 9.2, cuDNN 7.6: column "infer" of
# MODEL_ZOO.md of pycls (facebookresearch/pycls, commit 1caf15bb); of the twelve compared models the
# same as in table 4 of Designing Network Design Spaces (arXiv 2003.13678).
PUBLISHED_MS = {
    "RegNetY-400MF": 19,
    "EfficientNet-B0": 34,
    "RegNetY-600MF": 19,
    "EfficientNet-B1": 52,
    "RegNetY-800MF": 22,
    "EfficientNet-B2": 68,
    "RegNetY-1.6GF": 39,
    "EfficientNet-B3": 114,
    "RegNetY-4.0GF": 68,
    "EfficientNet-B4": 240,
    "RegNetY-8.0GF": 113,
    "EfficientNet-B5": 504,
    "ResNet-50": 53,
    "RegNetY-3.2GF": 67,
    "RegNetY-6.4GF": 104,
    "RegNetY-12GF": 150,
    "RegNetY-16GF": 189,
}
# The pairs of table 4, of about equal flops.
PAIRS = [(f"RegNetY-{a}", f"EfficientNet-B{i}") for i, a in enumerate(
    ("400MF", "600MF", "800MF", "1.6GF", "4.0GF", "8.0GF")
)]  # fmt: skip


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of time with a cost over n models, with a bootstrap interval."""

    space: str
    mode: str
    cost: str
    n: int
    r: float
    low: float
    high: float
    noisy: int


@dataclass(frozen=True)
class Speedup:
    """How many times as fast a RegNet is as an EfficientNet: here with an interval, and there."""

    regnet: str
    efficientnet: str
    here: float
    low: float
    high: float
    paper: float


def correlate(space: str, mode: str, records: list[Measurement]) -> list[Correlation]:
    """Correlate time with each cost; 10,000 bootstrap samples of models, seed 0."""
    timed = [record for record in records if record.latency is not None]
    times = np.array([record.latency for record in timed])
    noisy = sum(record.noisy for record in timed)
    rows = []
    for cost in COSTS:
        values = np.array([getattr(record, cost) for record in timed], float)
        interval = bootstrap(
            (values, times),
            lambda x, y: np.corrcoef(x, y)[0, 1],
            paired=True,
            vectorized=False,
            n_resamples=10_000,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        r = float(np.corrcoef(values, times)[0, 1])
        low, high = float(interval.low), float(interval.high)
        rows.append(Correlation(space, mode, cost, len(timed), r, low, high, noisy))
    return rows


def lead_of_acts(space: str, mode: str, records: list[Measurement]) -> Correlation:
    """Return how much more time correlates with activations than with flops."""
    timed = [record for record in records if record.latency is not None]
    values = [np.array([getattr(r, name) for r in timed], float) for name in ("acts", "flops")]
    times = np.array([record.latency for record in timed])

    def lead(acts: np.ndarray, flops: np.ndarray, times: np.ndarray) -> float:
        return float(np.corrcoef(acts, times)[0, 1] - np.corrcoef(flops, times)[0, 1])

    low, high = bootstrap(
        (*values, times),
        lead,
        paired=True,
        vectorized=False,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    noisy = sum(record.noisy for record in timed)
    r = lead(*values, times)
    return Correlation(
        space, mode, "acts less flops", len(timed), r, float(low), float(high), noisy
    )


def beside_the_paper(leads: list[Correlation], ratios: list[Speedup]) -> list[str]:
    """Say claim by claim whether this machine agrees with the paper."""
    lines = [
        "## Beside the paper",
        "",
        '"Time follows activations more than flops" (Designing Network Design Spaces, figure 12, '
        "on a GPU). Here, the correlation of time with activations less that with flops:",
        "",
    ]
    for row in leads:
        said = "as in the paper" if row.low > 0 else "contradicted" if row.high < 0 else "undecided"
        lines.append(
            f"- {row.space}, {row.mode}: {row.r:+.2f} ({row.low:+.2f} to {row.high:+.2f}, "
            f"n = {row.n}): {said}"
        )
    faster = sum(row.low > 1 for row in ratios)
    below = [row.regnet for row in ratios if row.high < row.paper]
    lines += [
        "",
        f'"RegNets are up to five times as fast as EfficientNets of equal flops" (table 4): here '
        f"{min(row.here for row in ratios):.1f} to {max(row.here for row in ratios):.1f} times, "
        f"faster beyond the interval in {faster} of {len(ratios)} pairs. "
        + (
            f"The advantage is smaller than the paper's for {', '.join(below)}."
            if below
            else "No interval excludes the paper's ratio."
        ),
        "",
    ]
    return lines


def speedups(records: list[Measurement]) -> list[Speedup]:
    """Compare the pairs of the paper; the interval is from the ends of both models' intervals."""
    timed = {record.name: record for record in records if record.latency is not None}
    rows = []
    for regnet, efficientnet in PAIRS:
        if not {regnet, efficientnet} <= timed.keys():
            continue
        one, other = timed[regnet], timed[efficientnet]
        rows.append(
            Speedup(
                *(regnet, efficientnet, other.latency / one.latency),
                *(other.low / one.high, other.high / one.low),
                PUBLISHED_MS[efficientnet] / PUBLISHED_MS[regnet],
            )
        )
    return rows


def families(study: Path, out: Path, on: dict[str, Any]) -> list[str]:
    """Measure the trained models of the families and compare them; return lines of the page."""
    runs = [ds.load_run(study / name) for name in FAMILIES if (study / name).is_dir()]
    counts = {run.path.name: len(run.trials()) for run in runs}
    n = min(counts.values(), default=0)
    if len(runs) < 2 or n < FEWEST:
        return [f"Trained: {counts}; {FEWEST} of each are needed."]
    ds.measure(runs, limit=n, batch=1, time_limit=2, **on)
    findings = ds.analyze(runs, against=["flops", "latency"], first=n)
    findings.save(out / "families")
    sentences = [text for one in findings.trade_offs for text in trade_off_sentences(one)]
    return [
        f"The first {n} models of each. [The report](families/index.html).",
        "",
        *(f"- {text.strip()}" for text in sentences),
    ]


def page(
    correlations: list[Correlation],
    leads: list[Correlation],
    fits: dict[str, str],
    published: list[Measurement],
    ratios: list[Speedup],
    machine: dict[str, object],
    trained: list[str],
) -> str:
    """Return the tables as markdown."""
    lines = [
        "# Time, flops and activations",
        "",
        "Written by `make latency-evidence`. Intervals are of 95 %; noisy models are those whose "
        "times are doubtful (`designspace measure`).",
        "",
        *(f"- {key}: {value}" for key, value in machine.items()),
        "",
        *(beside_the_paper(leads, ratios) if ratios else []),
        f"## Correlation of time with cost, {BUDGET} multiply-adds",
        "",
        "| space | mode | cost | r | interval | n | noisy |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in correlations:
        lines.append(
            f"| {row.space} | {row.mode} | {row.cost} | {row.r:.2f} | {row.low:.2f} to "
            f"{row.high:.2f} | {row.n} | {row.noisy} |"
        )
    lines += ["", *(f"- {name}: time by {fit}" for name, fit in fits.items())]
    lines += [
        "",
        "## Published networks, inference",
        "",
        "| model | pixels | flops (B) | acts (M) | images/s | interval | noisy | V100 images/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in published:
        about = f"| {record.name} | {record.setting.resolution} | {record.flops / 1e9:.1f} "
        about += f"| {record.acts / 1e6:.1f} "
        paper = f"{64_000 / PUBLISHED_MS[record.name]:,.0f}"
        if record.latency is None:
            lines.append(f"{about}| {record.failure} | | | {paper} |")
            continue
        ends = [record.setting.batch / value for value in (record.high, record.low)]
        lines.append(
            f"{about}| {record.images_per_second:,.1f} | {ends[0]:,.1f} to {ends[1]:,.1f} "
            f"| {'yes' if record.noisy else 'no'} | {paper} |"
        )
    lines += [
        "",
        "V100: 64 images on one V100 with PyTorch 1.6, from pycls' MODEL_ZOO.md.",
        "",
        "| pair of about equal flops | times as fast here | interval | in the paper |",
        "| --- | --- | --- | --- |",
    ]
    for ratio in ratios:
        lines.append(
            f"| {ratio.regnet} over {ratio.efficientnet} | {ratio.here:.2f} | {ratio.low:.2f} to "
            f"{ratio.high:.2f} | {ratio.paper:.2f} |"
        )
    lines += [
        "",
        "## Families of networks: errors at equal flops and at equal latency",
        "",
        *trained,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", type=int, default=200, help="of each space")
    parser.add_argument("--batch", type=int, default=8, help="images of 32 pixels")
    parser.add_argument("--published-batch", type=int, default=4, help="images of 224 pixels")
    parser.add_argument("--time-limit", type=float, default=0.6, help="seconds per small model")
    parser.add_argument("--out", type=Path, default=Path("results/latency"))
    parser.add_argument("--study", type=Path, default=Path("results/reference"))
    options = parser.parse_args()
    on = {"device": options.device, "threads": options.threads}
    correlations, leads, fits = [], [], {}
    measured: list[Measurement] = []
    for mode in MODES:
        for space in SPACES:
            folder = options.out / space.partition("@")[0].lower()
            run = ds.sample(space, n=options.models, flops=BUDGET, out=folder)
            small = {"batch": options.batch, "mode": mode, "time_limit": options.time_limit}
            result = ds.measure(run, **on, **small)
            measured += result.records
            correlations += correlate(space, mode, list(result.records))
            leads.append(lead_of_acts(space, mode, list(result.records)))
            fits[f"{space}, {mode}"] = str(result.latency_model())
    published = ds.measure(
        list(PUBLISHED_MS),
        batch=options.published_batch,
        time_limit=10 * options.time_limit,
        out=options.out / "published",
        **on,
    )
    ratios = speedups(list(published.records))
    setting = published.records[0].setting
    everything = [r for r in (*measured, *published.records) if r.latency is not None]
    loads = [record.load for record in everything]
    widths = [(record.high - record.low) / record.latency / 2 for record in everything]
    machine = {
        "device": setting.device,
        "threads": setting.threads,
        "cores": os.cpu_count(),
        "precision": setting.precision,
        "torch": setting.torch,
        "images per step": f"{options.batch} of 32 pixels; {options.published_batch} of others",
        "share of the machine that other processes used": f"{np.median(loads):.0%} (median), "
        f"{max(loads):.0%} (highest)",
        "half of the interval of a time": f"{np.median(widths):.1%} (median); a machine with "
        "less noise gives higher correlations",
    }
    trained = families(options.study, options.out, on)
    text = page(correlations, leads, fits, list(published.records), ratios, machine, trained)
    (options.out / "README.md").write_text(text, encoding="utf-8")
    data = {
        "machine": machine,
        "correlations": [asdict(row) for row in (*correlations, *leads)],
        "latency_models": fits,
        "speedups": [asdict(row) for row in ratios],
    }
    (options.out / "evidence.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
