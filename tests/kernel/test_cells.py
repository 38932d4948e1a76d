"""Our magics in a real kernel: what a cell saves, whoever looks on; queued cells; ■."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

pytestmark = pytest.mark.kernel

CI = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "output/out.jpg"\n'

# A notebook with the main magics: what each cell must put out, as kinds.
CARD, PICTURE, TABLE = "text/html,text/plain", "image/jpeg,text/plain", "text/html,text/plain"
NOTEBOOK: tuple[tuple[str, list[str]], ...] = (
    ("%mjci sandbox --speed 300 -o s\ns", ["text/plain"]),
    ("%mj_imagine a red fox, isn't it? --ar 3:2 -o job", [CARD, PICTURE]),
    ("%mj_action job U2", [CARD, PICTURE]),
    ("print(_.action)", ["stdout"]),
    ("%%ci_job -o made\n" + CI, [CARD, PICTURE]),
    ("%mj_tasks", [TABLE]),
    ("%ci_jobs --states Success", [TABLE]),
    ("%mj_task job", [CARD, PICTURE]),
    ("job", [CARD]),
    ("%mj_imagine --dry-run a fox", [TABLE]),
    ("%mj_action job U9", ["error"]),
    ("%%ci_job\n" + CI.replace("deer", "nobody"), [CARD, "error"]),
    ("%mjci status", [TABLE]),
)


@dataclass
class Cell:
    """What came of one execution: outputs as a notebook saves them, and everything on the way."""

    outputs: list[tuple[str, Any]] = field(default_factory=list)
    updates: int = 0
    reply: dict[str, Any] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    comms: int = 0  # messages that only a front end with widgets understands

    def hear(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        name = content.get("transient", {}).get("display_id", "")
        self.comms += kind.startswith("comm_")
        if kind == "update_display_data":
            self.updates += 1
            self.outputs[self.places[name]] = (
                "display_data",
                (content["data"], content["metadata"]),
            )
        elif kind in ("display_data", "execute_result"):
            if name:
                self.places[name] = len(self.outputs)
            self.outputs.append((kind, (content["data"], content["metadata"])))
        elif kind == "stream":
            self.outputs.append((content["name"], content["text"]))
        elif kind == "error":
            self.outputs.append((kind, content["traceback"]))

    @property
    def kinds(self) -> list[str]:
        return [
            ",".join(sorted(text[0])) if isinstance(text, tuple) else kind
            for kind, text in self.outputs
        ]


Kernel = tuple[KernelManager, BlockingKernelClient]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def client(kernel: Kernel) -> BlockingKernelClient:
    """The kernel's client, the magics loaded anew."""
    run(kernel[1], "%reset -f\n%load_ext jupyter_mjci\n%reload_ext jupyter_mjci")
    return kernel[1]


def run(client: BlockingKernelClient, code: str, *, live: bool = False) -> Cell:
    """Runs a cell as JupyterLab does (`live`), or as nbclient and nbval do."""
    cell = Cell()
    reply = client.execute_interactive(code, output_hook=cell.hear, timeout=60, allow_stdin=live)
    cell.reply = reply["content"]
    return cell


def test_a_notebook_is_the_same_live_and_headless(client: BlockingKernelClient) -> None:
    """Cell by cell the same outputs, byte for byte; nothing on stderr; and live the progress was
    seen to move.
    """
    headless, live = (
        [run(client, code, live=mode) for code, _ in NOTEBOOK] for mode in (False, True)
    )
    for (code, kinds), one, other in zip(NOTEBOOK, headless, live, strict=True):
        assert one.kinds == kinds, (code, one.outputs)
        assert one.outputs == other.outputs, code
        # Live, the buttons under a card come over a comm; nothing of them is saved.
        assert (one.updates, one.comms) == (0, 0)
        assert one.reply["status"] == ("error" if "error" in kinds else "ok")
    assert live[1].updates >= 1


def test_a_panel_reads_well_where_nobody_answers_its_widgets(client: BlockingKernelClient) -> None:
    """As in this client. Beside its widgets stand text and HTML that tell which magics do the same;
    what it did is in the record below.
    """
    cell = run(
        client, "%mjci sandbox --speed inf -o s\npanel = %mjci panel mj\ndisplay(panel)", live=True
    )
    assert cell.comms
    assert cell.kinds == [f"application/vnd.jupyter.widget-view+json,{CARD}", CARD]
    for kind in CARD.split(","):
        assert "Without widgets: %mj_imagine, %mj_action." in cell.outputs[0][1][0][kind]
        assert "Midjourney" in cell.outputs[1][1][0][kind]
    draw = "panel.fields['prompt'].value = 'a red fox'\npanel.submit_button.click()\npanel.wait()"
    client.execute_interactive(draw, output_hook=lambda _: None, timeout=60)
    still = run(client, "display(panel)").outputs[1][1][0]
    assert "succeeded · a red fox" in still["text/plain"]
    assert "a red fox" in still["text/html"]


def test_errors_are_short_and_red(client: BlockingKernelClient) -> None:
    """Two to four lines, as an error that test runs can see."""
    run(client, "%mjci sandbox --speed inf")
    for code, name in (
        ("%mj_task 99", "MidjourneyError"),
        ("%%ci_job\ninput = ", "InvalidRequest"),
        ("%%ci_job\n<Request>\n<a></b></Request>", "InvalidRequest"),
        ("%ci_get_object no/such", "CIError"),
    ):
        cell = run(client, code)
        assert cell.kinds == ["error"]
        assert cell.reply["ename"] == name
        assert 1 <= len("\n".join(cell.outputs[0][1]).splitlines()) <= 4


def test_run_all_keeps_every_cell(client: BlockingKernelClient) -> None:
    """All cells are sent at once, as "Run All" does; each is run, in its order, while jobs are
    waited for.
    """
    codes = [
        "%mjci sandbox --speed 100 -o s",
        "%mj_imagine a red fox -o job",
        "%mj_action job U1 -o up",
        "%%ci_job -o made\n" + CI,
        "(job.status, up.status, made.status)",
    ]
    sent = [client.execute(code) for code in codes]
    replies: dict[str, dict[str, Any]] = {}
    while len(replies) < len(sent):
        reply = client.get_shell_msg(timeout=60)
        replies[reply["parent_header"]["msg_id"]] = reply["content"]
    assert [replies[one]["status"] for one in sent] == ["ok"] * len(sent)
    assert [replies[one]["execution_count"] for one in sent] == sorted(
        replies[one]["execution_count"] for one in sent
    )
    drain(client)


def drain(client: BlockingKernelClient) -> None:
    run(client, "1")
    try:
        while True:
            client.get_iopub_msg(timeout=0.1)
    except queue.Empty:
        return


def test_an_interrupt_ends_the_wait_and_not_the_job(
    kernel: Kernel, client: BlockingKernelClient
) -> None:
    """Within a second; the cell is red and names the job, which goes on and can be picked up
    again.
    """
    manager, _ = kernel
    run(client, "%mjci sandbox --speed 1 -o s")
    cell = Cell()
    message = client.execute("%mj_imagine a red fox", allow_stdin=True)
    while not cell.outputs:
        heard = client.get_iopub_msg(timeout=20)
        if heard["parent_header"].get("msg_id") == message:
            cell.hear(heard)
    began = time.monotonic()
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=20)["content"]
    took = time.monotonic() - began
    while (heard := client.get_iopub_msg(timeout=20))["content"].get("execution_state") != "idle":
        if heard["parent_header"].get("msg_id") == message:
            cell.hear(heard)
    assert took < 1.0
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted")
    assert cell.kinds == [CARD, "error"]
    text = "\n".join(cell.outputs[1][1])
    job_id = run(client, "print(s.client.known_jobs('mj')[-1].id)").outputs[0][1].strip()
    assert f"Interrupted: IMAGINE {job_id}" in text
    assert f"%mj_task {job_id}" in text
    assert f"%mj_task {job_id}" in cell.outputs[0][1][0]["text/plain"]
    assert len(text.splitlines()) == 2
    assert run(client, "%mj_queue").kinds == [TABLE]
    run(client, "s.client.clock.speed = 1000")
    assert run(client, f"%mj_task {job_id}").kinds == [CARD, PICTURE]


def test_a_background_job_lands_in_its_own_card(client: BlockingKernelClient) -> None:
    """`--no-wait`: the cell is done at once, and its card is updated from the engine while other
    cells run.
    """
    run(client, "%mjci sandbox --speed 100")
    cell, other = Cell(), Cell()
    first = client.execute("%mj_imagine a red fox --no-wait -o handle", allow_stdin=True)
    second = client.execute("handle.result().status.value", allow_stdin=True)
    idle = 0
    while idle < 2:
        heard = client.get_iopub_msg(timeout=30)
        of = heard["parent_header"].get("msg_id")
        idle += heard["content"].get("execution_state") == "idle" and of in (first, second)
        # An update is for the output of its name, under whatever cell ipykernel 6 sends it.
        named = heard["content"].get("transient", {}).get("display_id") in cell.places
        (cell if of == first or named else other).hear(heard)
    assert cell.kinds == [CARD]
    assert cell.updates >= 1
    assert "succeeded" in cell.outputs[0][1][0]["text/html"]
    assert "data:image/jpeg;base64," in cell.outputs[0][1][0]["text/html"]
    assert [text[0] for _, text in other.outputs] == [{"text/plain": "'SUCCEEDED'"}]
    for _ in range(2):
        client.get_shell_msg(timeout=10)
