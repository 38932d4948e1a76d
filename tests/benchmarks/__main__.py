"""A line per figure: ours, the other, how they compare, the bar, and whether it is met.

    python -m tests.benchmarks             all that have a bar against others
    python -m tests.benchmarks listings    only those of a module here

Each other is measured in the same run, in turns with ours; times are medians.
"""

from __future__ import annotations

import subprocess
import sys

MODULES = ("loading", "listings", "pages", "submissions", "polling", "emulator_server")


def main(names: list[str]) -> int:
    """Each module in a process of its own: what one leaves in memory shall not slow the next."""
    commands = [
        [sys.executable, "-W", "ignore", "-m", f"tests.benchmarks.{name}"]
        for name in names or MODULES
    ]
    return max(subprocess.run(command).returncode for command in commands)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
