"""Parse the command line, run the command, and turn its outcome into an exit status."""

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
    """Run a command; errors are printed to stderr.

    Args:
        argv: the arguments, by default those of this process

    Returns:
        The exit status, one of `exit_codes.Exit`.
    """
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            print(end="", flush=True)
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits,
        # and would complain: discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["sandbox"]:  # it parses its own arguments
        from jupyter_mjci.emulator.__main__ import main as serve

        return serve(argv[1:])
    parser = build_parser()
    names = ("sandbox", *COMMANDS)
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        parser.error(f"unknown command {argv[0]!r}. {suggest(argv[0], names)}")
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except MjciError as error:
        print_error(error)
        return get_exit_code(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; that of `sandbox` is only named here."""
    statuses = "\n".join(f"  {status:<5} {meaning}" for status, meaning in EXIT_CODE_HELP.items())
    details = "jupyter mjci COMMAND --help shows the arguments of a command."
    parser = argparse.ArgumentParser(
        "jupyter mjci",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Image jobs from a terminal, with the settings and journal of your notebooks.",
        epilog=f"exit status:\n{statuses}\n\n{details}",
    )
    version = f"jupyter_mjci {jupyter_mjci.__version__}"
    parser.add_argument("--version", action="version", version=version)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    subparsers.add_parser("sandbox", help=SANDBOX_HELP, add_help=False)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        subparser.set_defaults(run=command.run)
        for names, options in command.arguments:
            subparser.add_argument(*names, **options)
    return parser
