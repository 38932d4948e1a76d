"""What `%load_ext jupyter_mjci` adds to a shell with httpx and IPython imported, in new processes.

    python -m tests.benchmarks.loading

Pairs of processes, one without and one with the extension, in turns; the ratio is the median of the
pairs. Each measures from its first statement on, so the start of the interpreter counts in neither.
`%autoreload`, a part of IPython, is there for comparison.
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
SHELL = (
    f"{IMPORTS}from IPython.core.interactiveshell import InteractiveShell\n"
    "shell = InteractiveShell()\n"
)
# name, what both do, what only the second one does, the bar
CASES = (
    ("%load_ext jupyter_mjci", SHELL, "shell.run_line_magic('load_ext', 'jupyter_mjci')\n", 1.15),
    ("import jupyter_mjci", IMPORTS, "import jupyter_mjci\n", 1.15),
    (
        "  IPython's own: %load_ext autoreload",
        SHELL,
        "shell.run_line_magic('load_ext', 'autoreload')\n",
        None,
    ),
)


def measure_seconds(code: str) -> float:
    script = (
        f"import time\nstarted = time.perf_counter()\n{code}print(time.perf_counter() - started)"
    )
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # an installed package is compiled once
    process = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    return float(process.stdout)


def figures() -> Iterator[Figure]:
    pin(1)
    for name, base_code, extension_code, bar in CASES:
        measure_seconds(base_code + extension_code)  # once for the caches
        pairs = [
            (measure_seconds(base_code), measure_seconds(base_code + extension_code))
            for _ in range(PAIRS)
        ]
        without, with_extension = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(ours / floor for floor, ours in pairs)
        floor = f"httpx, IPython{', a shell' if base_code is SHELL else ''} {shown(without, 'ms')}"
        bar_text = f"<= {bar:g}x" if bar else "no bar"
        yield Figure(
            name, shown(with_extension, "ms"), floor, ratio, bar_text, ratio <= bar if bar else None
        )


if __name__ == "__main__":
    sys.exit(main(figures))
