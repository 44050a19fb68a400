"""The command, as `designspace` and as `python -m designspace`."""

import signal


def main() -> None:
    """Import the command line and run it."""
    # Until a verb begins there is nothing to keep: Ctrl-C ends the process, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from designspace.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
