"""`designspace status`: how far a run is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from designspace.runs.status import RunStatus

_WIDTH = 60
_HEIGHT = 10
_EVERY = 2.0
_NAMED = 20


def status(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again until training ends.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far a run is: finished, running, failed with reasons, rate, time left, errors.

    Examples:

      designspace status results/a

      designspace status results/a --watch

      designspace status results/a --json
    """
    import json
    import time

    from designspace.runs import Run

    folder = Run.open(run)
    found = folder.status()
    if json_:
        print(json.dumps(found.to_dict()))
        return
    if not watch:
        print("\n".join(lines(found)))
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(Text("\n".join(lines(found))), refresh=True)
            if found.live is None:
                return
            time.sleep(_EVERY)
            found = folder.status()


def lines(found: "RunStatus") -> list[str]:
    """Return the whole account as lines of text."""
    from designspace.cli.progress import duration
    from designspace.errors import printable
    from designspace.runs import TrialState

    data = found.to_dict()
    words = [f"{data['complete']} complete"]
    words += [f"{data[key]} {key}" for key in ("diverged", "failed", "running") if data[key]]
    words += [f"{data['waiting']} waiting"] if data["waiting"] else []
    shown = [f"{found.name}: {found.n} models: {', '.join(words)}"]
    if found.live is None:
        finished = len(found.trials) == found.n and not data["failed"]
        shown.append("finished" if finished else "nobody is training it at the moment")
    elif found.live.seconds_left is not None:
        left = duration(found.live.seconds_left)
        shown.append(f"{found.live.per_hour:.0f} models an hour, {left} left")
    else:
        shown.append("training; no model is finished yet")
    if found.torn:
        shown.append("the last line of trials.jsonl is torn; its model is trained again")
    shown += [
        f"  model {flight['index']} is in training for {duration(flight['seconds'])}"
        for flight in data["in_flight"][:_NAMED]
    ]
    for trial in [t for t in found.trials if t.state is not TrialState.COMPLETE][:_NAMED]:
        shown.append(f"  model {trial.index} {trial.state}: {trial.reason}")
    more = data["diverged"] + data["failed"] - _NAMED
    shown += [f"  and {more} more (--json has all)"] if more > 0 else []
    return [*map(printable, shown), *small_edf(found.errors)]


def small_edf(errors: list[float]) -> list[str]:
    """Draw the share of models with less than each error, in characters.

    Args:
        errors: Percent, ascending.
    """
    from bisect import bisect_left

    if not errors:
        return []
    low, high = errors[0], errors[-1]
    span = high - low or 1.0
    # The share below the right end of each column; the last one holds every model.
    ends = [low + span * (i + 1) / _WIDTH for i in range(_WIDTH)]
    shares = [bisect_left(errors, end) / len(errors) for end in ends[:-1]] + [1.0]
    blocks = " ▁▂▃▄▅▆▇█"
    rows = []
    for row in reversed(range(_HEIGHT)):
        levels = [max(0, min(8, round((share * _HEIGHT - row) * 8))) for share in shares]
        label = {_HEIGHT - 1: "1.0", _HEIGHT // 2 - 1: "0.5", 0: "0.0"}.get(row, "")
        rows.append(f"{label:>5} │{''.join(blocks[level] for level in levels)}")
    mean = sum(errors) / len(errors)
    left, right = f"{low:.1f}", f"{high:.1f}"
    return [
        "",
        f"share of models with less than this error in percent; [{low:.1f} | {mean:.1f}], "
        f"n = {len(errors)}",
        *rows,
        f"      └{'─' * _WIDTH}",
        f"       {left}{right:>{_WIDTH - len(left)}}",
    ]
