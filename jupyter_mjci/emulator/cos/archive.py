"""Archived objects: they are read only after they were restored, for some days.

https://cloud.tencent.com/document/product/436/12633
"""

from __future__ import annotations

import re
from email.utils import formatdate

from jupyter_mjci.emulator.cos.store import StoredObject
from jupyter_mjci.emulator.xml import ErrorResponse, get_text, invalid_argument, parse_xml

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MAX_DAYS = 365
# How long it takes at most until an object can be read, by
# storage class and tier.
RESTORE_TIMES = {
    "ARCHIVE": {"Expedited": 5 * MINUTE, "Standard": 5 * HOUR, "Bulk": 12 * HOUR},
    "DEEP_ARCHIVE": {"Standard": 24 * HOUR, "Bulk": 48 * HOUR},
}


def check_readable(stored: StoredObject, now: float) -> None:
    """Check that an object is not archived, or restored by now.

    Raises:
        ErrorResponse: it has to be restored first
    """
    if stored.storage_class not in RESTORE_TIMES:
        return
    if not stored.readable_from <= now < stored.readable_until:
        message = "The operation is not valid for the object's storage class: restore it first."
        raise ErrorResponse(403, "InvalidObjectState", message)


def restore(stored: StoredObject, body: bytes, now: float) -> int:
    """Begin to restore an object, or let one that can be read be read for longer.

    Returns:
        The HTTP status: 202 for the first, 200 for the second.

    Raises:
        ErrorResponse: the object is not archived, or is being
            restored already; the RestoreRequest is not valid
    """
    request = parse_xml(body, "RestoreRequest")
    times = RESTORE_TIMES.get(stored.storage_class)
    if times is None:
        message = "Restore is not allowed for the object's current storage class."
        raise ErrorResponse(403, "InvalidObjectState", message)
    days = get_text(request, "Days")
    if not re.fullmatch(r"\d{1,3}", days, re.ASCII) or not 1 <= int(days) <= MAX_DAYS:
        raise invalid_argument(f"Days must be a number from 1 to {MAX_DAYS}.")
    tier = get_text(request, "CASJobParameters/Tier") or "Standard"
    if tier not in times:
        raise invalid_argument(f"Tier must be one of {', '.join(times)} for this storage class.")
    if now < stored.readable_from:
        message = "Object restore is already in progress."
        raise ErrorResponse(409, "RestoreAlreadyInProgress", message)
    is_readable = now < stored.readable_until
    if not is_readable:
        stored.readable_from = now + times[tier]
    stored.readable_until = max(now, stored.readable_from) + int(days) * DAY
    return 200 if is_readable else 202


def build_restore_headers(stored: StoredObject, now: float) -> dict[str, str]:
    """Build x-cos-restore, which tells of an object that is being restored, or was."""
    if now >= stored.readable_until:
        return {}
    if now < stored.readable_from:
        return {"x-cos-restore": 'ongoing-request="true"'}
    expiry = formatdate(stored.readable_until, usegmt=True)
    return {"x-cos-restore": f'ongoing-request="false", expiry-date="{expiry}"'}
