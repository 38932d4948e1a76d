"""What somebody tries in a notebook who has installed the plugin; prints what came of it as JSON.

Run by `test_install.py` with the Python of a fresh environment, in a folder of its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

MODEL = "--model black-forest-labs/flux-schnell"
CELLS = f"""
%load_ext jupyter_mjci
%mjci sandbox --speed inf -o s
fox = %rp_predict a red fox {MODEL}
followed = s.follow(s.rp.predict("an owl", model="a/b")).run()
batch = s.batch([s.rp.predict("a cat", model="a/b"), s.mj.imagine("a dog")]).run()
animals = [{{"animal": "lynx"}}, {{"animal": "hare"}}]
each = %rp_predict a {{{{animal}}}} {MODEL} --each animals
rotated = %ci_picture_job --input input/deer.jpg --rule imageMogr2/rotate/90 --output out.jpg
predictions = %rp_predictions
history = %mjci history
doctor = %mjci doctor
%mjci replay record foxes.mjci
recorded = %rp_predict a snow fox {MODEL}
%mjci replay play foxes.mjci
replayed = %rp_predict a snow fox {MODEL}
"""


def build_shell() -> InteractiveShell:
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    shell.display_pub = CapturingDisplayPublisher()
    return shell


def main() -> None:
    os.environ["MJCI_HEADLESS"] = "1"
    shell = build_shell()
    outputs: dict[str, list[Any]] = {}
    for cell in CELLS.strip().splitlines():
        shell.display_pub.outputs.clear()
        shell.run_cell(cell, store_history=True).raise_error()
        outputs[cell.split()[0]] = [output["data"] for output in shell.display_pub.outputs]
    names = shell.user_ns
    history = names["history"]
    report = {
        "statuses": [names[name].status for name in ("fox", "followed", "rotated")],
        "batch": sorted(f"{job.service} {job.status}" for job in names["batch"]),
        "each": list(names["each"]["status"]),
        "listed": sorted(names["predictions"]["subject"]),
        "history": sorted(set(history["service"])),
        "columns": sorted({str(dtype) for dtype in history.dtypes}),
        "kinds": [sorted(data) for data in outputs["fox"]],
        "card": outputs["fox"][0]["text/html"],
        "doctor": str(outputs["doctor"]),
        "is_replayed": names["replayed"] == names["recorded"],
        "recording": "".join(
            path.read_text("utf-8") for path in sorted(Path("foxes.mjci").rglob("*.json"))
        ),
        "token": names["s"].settings.rp_token.reveal(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
