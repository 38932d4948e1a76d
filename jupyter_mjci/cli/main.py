"""The command line as a whole: what is asked for, and the status that it ends with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import jupyter_mjci
from jupyter_mjci.cli.commands import COMMANDS, SANDBOX_HELP
from jupyter_mjci.cli.exit_codes import EXIT_CODE_HELP, Exit, get_exit_code, print_error
from jupyter_mjci.errors import MjciError, suggest


def main(argv: Sequence[str] | None = None) -> int:
    """Does what a command line asks for. The status is one of `exits.Exit`; an error's reason is on
    stderr.
    """
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        # What is still unwritten goes nowhere, or the interpreter would complain of it when it
        # ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["sandbox"]:  # its flags, and their help, are its own
        from jupyter_mjci.emulator.__main__ import main as serve

        return serve(argv[1:])
    ours = build_parser()
    names = ("sandbox", *COMMANDS)
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        ours.error(f"there is no command {argv[0]!r}. {suggest(argv[0], names)}")
    told = ours.parse_args(argv)
    try:
        return int(told.run(told))
    except MjciError as error:
        print_error(error)
        return get_exit_code(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; that of `sandbox` is the sandbox's own."""
    statuses = "\n".join(f"  {status:<5} {meaning}" for status, meaning in EXIT_CODE_HELP.items())
    made = argparse.ArgumentParser(
        "jupyter mjci",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Picture jobs from a terminal, with the settings and the journal that notebooks use.",
        epilog=f"exit status:\n{statuses}\n\njupyter mjci COMMAND --help tells a command's arguments.",
    )
    made.add_argument(
        "--version", action="version", version=f"jupyter_mjci {jupyter_mjci.__version__}"
    )
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands.add_parser("sandbox", help=SANDBOX_HELP, add_help=False)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, description=command.help)
        one.set_defaults(run=command.run)
        for names, options in command.arguments:
            one.add_argument(*names, **options)
    return made
