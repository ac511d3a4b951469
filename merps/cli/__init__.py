"""The command line: one thin function a command, and the only place that prints."""

import sys


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:] == ["--version"]:  # answered before anything is loaded
        from merps import __version__

        print(f"merps {__version__}")
        return
    try:
        from merps.cli.commands import app

        app()
    except KeyboardInterrupt:  # outside of any command
        sys.exit(130)
