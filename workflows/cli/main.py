"""The command line: thin; every command opens, checks, calls one function and prints.

Logs and progress go to standard error. With `--json` the last line of standard output is one
JSON object. Exit status: 0 done, 1 failed, 2 unusable input, 3 done but some tiles failed.

Each command imports what it needs when it runs, so that help, `--version` and a wrong flag answer at once.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from overwatt.aoi.errors import OutputError, OverwattError
from overwatt.workflows.cli import compare, estimate, export, inspect, reconcile, record, run, thresholds, tiles, train
from overwatt.workflows.cli.common import set_up_logging

app = typer.Typer(
    name="overwatt",
    help="Finds data centers in public imagery, estimates power and AI compute, and checks declarations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
STOPPED = "stopped; the same command finishes the rest"
_ANYWHERE = ("--verbose", "--log-json")  # options of the whole command that may also stand after the subcommand


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"overwatt {version('overwatt')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Log details, with module names.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find data centers in public imagery, estimate power and AI compute, and check declarations."""
    set_up_logging(verbose=verbose, as_json=log_json)


for command in (run, compare, estimate, export, inspect, record, reconcile, thresholds, tiles, train):
    command.register(app)


def main() -> None:
    """Entry point: one line per error, a traceback only for bugs."""
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module=r"odc\..*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"odc\..*")
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")  # the error that follows says it better
    given = sys.argv[1:]
    arguments = [a for a in _ANYWHERE if a in given] + [a for a in given if a not in _ANYWHERE]
    try:
        app(arguments)
    except OutputError as error:
        _fail(str(error), 1)
    except OverwattError as error:
        _fail(str(error), 2)
    except OSError as error:
        if not error.strerror:
            raise
        from overwatt.aoi.output import FULL, why

        # an own writer that knows its folder raises OutputError; here the folder of a reader may be meant
        folder = Path(error.filename or ".").parent
        _fail(f"{error.filename or 'output'}: {why(error, folder) if error.errno in FULL else error.strerror}", 1)
    except KeyboardInterrupt:
        _fail(STOPPED, 130)
    except SystemExit as stop:
        if stop.code == 130:
            _fail(STOPPED, 130)
        raise


def _fail(text: str, status: int) -> NoReturn:
    # names come from files: no escapes to the terminal
    printable = "".join(c if c.isprintable() else "?" for c in text)
    print(f"overwatt: {printable}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
