"""What `%load_ext jupyter_mjci` adds to a shell that has imported httpx and IPython, in fresh
processes.

    python -m tests.benchmarks.loading

Pairs of processes, one without and one with ours, in turns; the ratio is the median of the pairs'
own. Each counts by itself from its first statement on, so the interpreter's own start is in
neither. `%autoreload`, which IPython brings, stands beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.figures import Figure, main, pin, shown

PAIRS = 25
IMPORTS = "import httpx, IPython\n"
SHELL = f"{IMPORTS}from IPython.core.interactiveshell import InteractiveShell\nshell = InteractiveShell()\n"
# name, what both do, what only the second one does, the bar
WAYS = (
    ("%load_ext jupyter_mjci", SHELL, "shell.run_line_magic('load_ext', 'jupyter_mjci')\n", 1.15),
    ("import jupyter_mjci", IMPORTS, "import jupyter_mjci\n", 1.15),
    (
        "  IPython's own: %load_ext autoreload",
        SHELL,
        "shell.run_line_magic('load_ext', 'autoreload')\n",
        None,
    ),
)


def seconds(code: str) -> float:
    told = f"import time\nstarted = time.perf_counter()\n{code}print(time.perf_counter() - started)"
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # an installed package is compiled once
    done = subprocess.run(
        [sys.executable, "-c", told], env=environ, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def figures() -> Iterator[Figure]:
    pin(1)
    for name, alone, more, bar in WAYS:
        seconds(alone + more)  # once for the caches
        pairs = [(seconds(alone), seconds(alone + more)) for _ in range(PAIRS)]
        without, took = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(ours / floor for floor, ours in pairs)
        floor = f"httpx, IPython{', a shell' if alone is SHELL else ''} {shown(without, 'ms')}"
        told = f"<= {bar:g}x" if bar else "no bar"
        yield Figure(name, shown(took, "ms"), floor, ratio, told, ratio <= bar if bar else None)


if __name__ == "__main__":
    sys.exit(main(figures))
