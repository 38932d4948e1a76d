"""Processes that tests start and kill."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Any

# Importing takes a process seconds, and what it is started for fractions of them: one server
# imports, and each process is a fork of it, as fresh as one that was spawned.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.history.test_lake"])


def start_processes(target: Any, arguments: Sequence[tuple[Any, ...]]) -> list[BaseProcess]:
    """Start a process for each tuple of arguments."""
    processes: list[BaseProcess] = [CONTEXT.Process(target=target, args=args) for args in arguments]
    for process in processes:
        process.start()
    return processes
