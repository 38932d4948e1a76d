"""What the help of a magic says beyond its builder's signature and docstring."""

from __future__ import annotations

from jupyter_mjci.services import MagicHelp

MAGIC_HELP = {
    "imagine": MagicHelp("%mj_imagine a red fox in the snow --ar 3:2 -o fox"),
    "action": MagicHelp(
        "%mj_action _ U2",
        "Press a button of a finished task. %mj_task shows which buttons it has.",
    ),
    "task": MagicHelp("%mj_task _"),
    "tasks": MagicHelp("%mj_tasks --ids 1767225600000230,1767225651000340 -o tasks"),
    "describe": MagicHelp("%mj_describe fox.png"),
    "blend": MagicHelp("%mj_blend fox.png,owl.png"),
    "video": MagicHelp(required=("--picture PATH",)),
}
