"""Ask for the speed of one task: fast, relax or turbo.

The families of servers take it in different places: the .NET one
and relays in the path (`/mj-relax/mj/submit/imagine`), "plus" in
`accountFilter.modes`, the Java one not at all, so that only
Midjourney's own flag is left (`--relax`). The setting
`mj_mode_by` says which. A server that lacks the path refuses the
submission, so a task is never drawn at another speed unnoticed.

Sources: the public routes of the .NET server and of new-api, the
published documents of "plus".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.midjourney.prompt_flags import list_flag_names

Mode = Literal["fast", "relax", "turbo"]
MODES: tuple[Mode, ...] = ("fast", "relax", "turbo")
PREFIX_HINT = (
    "This server may not take a mode in the path: set MJCI_MJ_MODE_BY=filter "
    "(accountFilter.modes) or flag (in the prompt), or leave the mode out."
)
_PREFIX = re.compile(r"/mj-(fast|relax|turbo)/mj/")

Request = tuple[str, Mapping[str, object]]


def request_mode(
    mode: str | None,
    style: str,
    path: str,
    body: Mapping[str, object],
) -> Request:
    """Return the path and the body of a submission that asks for a mode.

    Args:
        mode: fast, relax or turbo; None asks for nothing
        style: where it stands: path, filter or flag
        path: the path without a mode
        body: the body without a mode

    Raises:
        InvalidRequest: the mode is unknown, the prompt has
            another one, or there is no prompt to hold its flag
    """
    if mode is None:
        return path, body
    name = str(mode).strip().casefold()
    if name not in MODES:
        raise InvalidRequest(f"{mode!r} is not a mode.", hint=f"Available: {', '.join(MODES)}.")
    _check_prompt_mode(name, body)
    return _PLACES[style](name, path, body)


def read_mode(path: str, body: Mapping[str, object]) -> Mode | None:
    """Return the mode that a built submission asks for in its path or its filter."""
    for mode in MODES:
        _, sent = _put_into_filter(mode, path, body)
        if path.startswith(f"/mj-{mode}/") or sent == body:
            return mode
    return None


def has_mode_prefix(url: str) -> bool:
    """Return whether a URL asks for a mode in its path."""
    return _PREFIX.search(url) is not None


def list_prompt_modes(body: Mapping[str, object]) -> set[str]:
    """Return the modes that the flags of a prompt ask for."""
    names = list_flag_names(str(body.get("prompt") or ""))
    return {name.removeprefix("--") for name in names}.intersection(MODES)


def _check_prompt_mode(mode: str, body: Mapping[str, object]) -> None:
    others = sorted(list_prompt_modes(body) - {mode})
    if others:
        raise InvalidRequest(
            f"The prompt says --{others[0]}, and the mode is {mode}.",
            hint="Nothing was sent. Leave one of them out.",
        )


def _put_into_path(mode: str, path: str, body: Mapping[str, object]) -> Request:
    return f"/mj-{mode}{path}", body


def _put_into_filter(mode: str, path: str, body: Mapping[str, object]) -> Request:
    return path, {**body, "accountFilter": {"modes": [mode.upper()]}}


def _put_into_prompt(mode: str, path: str, body: Mapping[str, object]) -> Request:
    prompt = body.get("prompt")
    if not prompt:
        raise InvalidRequest(
            f"This call has no prompt that could hold --{mode}.",
            detail="The setting mj_mode_by says that this server takes the mode as a flag.",
            hint="Nothing was sent. Leave the mode out, or set MJCI_MJ_MODE_BY=path or filter.",
        )
    if mode in list_prompt_modes(body):
        return path, body
    return path, {**body, "prompt": f"{prompt} --{mode}"}


_PLACES: dict[str, Callable[[str, str, Mapping[str, object]], Request]] = {
    "path": _put_into_path,
    "filter": _put_into_filter,
    "flag": _put_into_prompt,
}
MODE_STYLES = tuple(_PLACES)
