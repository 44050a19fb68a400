"""The command line: parse, call, print. One verb per arrow of the data flow."""

import errno
import io
import signal
import sys
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from designspace.cli.agree import agree
from designspace.cli.analyze import analyze
from designspace.cli.complexity import complexity
from designspace.cli.demo import demo
from designspace.cli.derive import derive
from designspace.cli.evaluate import evaluate
from designspace.cli.explain import explain
from designspace.cli.export import export
from designspace.cli.gather import gather
from designspace.cli.import_ import import_
from designspace.cli.merge import merge
from designspace.cli.pretrain import pretrain
from designspace.cli.refine import refine
from designspace.cli.sample import sample
from designspace.cli.spaces import spaces
from designspace.cli.status import status
from designspace.cli.train import train
from designspace.errors import DeviceError, InputError, printable, shortened

# What a machine says of full disks, and of paths that a person must name otherwise or open up.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_WAY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)

# Characters of a message: what it quotes may be as long as a file.
_LONGEST = 4000


class _Terminated(KeyboardInterrupt):
    """A batch system asks the process to end: it ends as with Ctrl-C, keeping what is finished."""


class _House(TyperGroup):
    """Turns what a person can mend into one message and exit 2; Ctrl-C into 130, SIGTERM 143."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            print(f"designspace: {shortened(printable(str(error)), _LONGEST)}", file=sys.stderr)
            raise typer.Exit(2) from None
        except DeviceError as error:
            print(f"designspace: {shortened(printable(str(error)), _LONGEST)}", file=sys.stderr)
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in (*_NO_ROOM, *_NO_WAY):
                raise
            where = f"{shortened(printable(str(error.filename)))}: " if error.filename else ""
            remedy = ": free some space, and run it again" if error.errno in _NO_ROOM else ""
            print(f"designspace: {where}{error.strerror}{remedy}", file=sys.stderr)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            words = stop.args[0] if stop.args else "interrupted; what was finished is kept"
            print(f"\ndesignspace: {words}", file=sys.stderr)
            raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the verb, and refuse blank words for all verbs alike.

        An unset variable leaves one (`--out "$DIR"`), and as a path it would mean this folder.
        """
        name, command, words = super().resolve_command(ctx, args)
        options = {
            word
            for found in getattr(command, "params", ())
            if _takes_value(found)
            for word in found.opts
        }
        for before, word in pairwise([str(name), *words]):
            option, equals, value = word.partition("=")
            if equals and option in options and not value.strip():
                raise InputError(f"{option} is empty; give a value, or leave it out")
            if not word.strip():
                what = before if before in options else f"what stands after {before}"
                raise InputError(f"{what} is empty; give a value, or leave it out")
        return name, command, words


app = typer.Typer(
    name="designspace",
    cls=_House,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="From a space of networks to a network worth pretraining: "
    "sample, train, analyze, refine, derive, export.",
)
app.command()(spaces)
app.command()(sample)
app.command()(gather)
app.command()(train)
app.command()(status)
app.command()(merge)
app.command()(complexity)
app.command()(derive)
app.command()(export)
app.command()(pretrain)
app.command()(evaluate)
app.command()(explain)
app.command("import")(import_)
app.command()(analyze)
app.command()(agree)
app.command()(refine)
app.command()(demo)


def main(argv: list[str] | None = None) -> None:
    """Run the command line with the given words, or those of the process."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack letters that names have
            stream.reconfigure(errors="backslashreplace")
    app(args=argv, prog_name="designspace")


def _takes_value(parameter: Any) -> bool:
    return not getattr(parameter, "is_flag", False)


def _terminate(number: int, skeleton: object) -> None:
    raise _Terminated


if __name__ == "__main__":
    main()
