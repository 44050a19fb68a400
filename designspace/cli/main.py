"""The command line: parse, call the public API, print."""

import errno
import io
import re
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from designspace.cli.agree import agree
from designspace.cli.analyze import analyze
from designspace.cli.cluster import cluster
from designspace.cli.complexity import complexity
from designspace.cli.convert import convert
from designspace.cli.demo import demo
from designspace.cli.derive import derive
from designspace.cli.evaluate import evaluate
from designspace.cli.explain import explain
from designspace.cli.export import export
from designspace.cli.flags import with_flags
from designspace.cli.gather import gather
from designspace.cli.import_ import import_
from designspace.cli.measure import measure
from designspace.cli.merge import merge
from designspace.cli.options import with_plugins
from designspace.cli.plot import plot
from designspace.cli.pretrain import pretrain
from designspace.cli.refine import refine
from designspace.cli.sample import sample
from designspace.cli.spaces import spaces
from designspace.cli.status import status
from designspace.cli.study import study
from designspace.cli.train import train
from designspace.errors import DeviceError, InputError, printable, shortened

# Errors of the operating system that the user can fix: a full disk, or a path that won't do.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BAD_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)
# Characters of a message: what it quotes may be as long as a file.
_MAX_MESSAGE = 4000
# What typer says of a wrong value, and clearer words.
_TYPER_WORDS = {
    r"Value error, ": "",
    r"Input should be a valid integer.*": "must be a whole number",
    r"Input should be a valid number.*": "must be a number",
    r"Input should": "must",
}


class _Terminated(KeyboardInterrupt):
    """SIGTERM, from a batch system for example: stop as on Ctrl-C."""


class _Commands(TyperGroup):
    """Prints input errors in one line and exits with 2; Ctrl-C exits with 130, SIGTERM with 143."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except InputError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            message = shortened(printable(with_flags(error, command)), _MAX_MESSAGE)
            print(f"designspace: {message}", file=sys.stderr)
            raise typer.Exit(2) from None
        except typer.BadParameter as error:
            for pattern, words in _TYPER_WORDS.items():
                error.message = re.sub(pattern, words, error.message)
            raise
        except DeviceError as error:
            print(f"designspace: {shortened(printable(str(error)), _MAX_MESSAGE)}", file=sys.stderr)
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in (*_DISK_FULL, *_BAD_PATH):
                raise
            where = f"{shortened(printable(str(error.filename)))}: " if error.filename else ""
            remedy = ": free some space, then run it again" if error.errno in _DISK_FULL else ""
            print(f"designspace: {where}{error.strerror}{remedy}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            words = stop.args[0] if stop.args else "interrupted; finished work is kept"
            print(f"\ndesignspace: {words}", file=sys.stderr)
            raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb, and refuse empty values for all verbs alike.

        An unset shell variable leaves one (`--out "$DIR"`); as a path it would mean this folder.
        """
        name, command, words = super().resolve_command(ctx, args)
        options = {
            option
            for parameter in getattr(command, "params", ())
            if not getattr(parameter, "is_flag", False)
            for option in parameter.opts
        }
        for before, word in pairwise([str(name), *words]):
            option, equals, value = word.partition("=")
            if equals and option in options and not value.strip():
                raise InputError(f"{option} is empty; give a value, or leave it out")
            if not word.strip():
                what = before if before in options else f"the value after {before}"
                raise InputError(f"{what} is empty; give a value, or leave it out")
        return name, command, words


app = typer.Typer(
    name="designspace",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="From a space of networks to a network worth pretraining: "
    "sample, train, analyze, refine, derive, export, pretrain, evaluate.",
)
_VERBS: tuple[Callable[..., None], ...] = (
    *(spaces, sample, gather, measure, train, status, merge, analyze, plot, agree, refine, import_),
    *(study, convert, complexity, explain, derive, export, pretrain, evaluate, cluster, demo),
)
for verb in _VERBS:
    app.command(verb.__name__.rstrip("_"))(with_plugins(verb))


def main(argv: list[str] | None = None) -> None:
    """Run the command line with the given arguments, or those of the process."""
    signal.signal(signal.SIGTERM, _exit)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack the letters of a name
            stream.reconfigure(errors="backslashreplace")
    app(args=argv, prog_name="designspace")


def _exit(number: int, frame: object) -> None:
    """End while the command line is parsed, when there is nothing to keep."""
    print("\ndesignspace: terminated", file=sys.stderr)
    raise SystemExit(143)


def _interrupt(number: int, frame: object) -> None:
    """Stop the verb, which keeps what it has; a second signal must not disturb that."""
    signal.signal(number, signal.SIG_IGN)
    raise _Terminated


if __name__ == "__main__":
    main()
