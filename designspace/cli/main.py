"""The command line: parse, call, print. One verb per arrow of the data flow."""

import sys

import typer

from designspace.errors import InputError

app = typer.Typer(
    name="designspace",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a space of networks to a network worth pretraining.",
)


def main(argv: list[str] | None = None) -> None:
    """Run the command line; exit 2 with one message on what a person can mend, 130 on Ctrl-C."""
    try:
        app(args=argv, prog_name="designspace")
    except InputError as error:
        print(f"designspace: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("designspace: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
