"""`jupyter mjci …`: the sandbox as a server, the demo, and jobs watched or cancelled while a kernel is busy."""

from jupyter_mjci.cli.line import main

__all__ = ["main"]
