"""Access control lists of buckets and objects: x-cos-acl, x-cos-grant-*, the body of `?acl`.

A list is kept as its grants to others than the owner, whose
FULL_CONTROL it always has. An object without a list of its own
has its bucket's.

https://cloud.tencent.com/document/product/436/30752
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jupyter_mjci.emulator.xml import (
    Element,
    find_all,
    get_text,
    invalid_argument,
    malformed_xml,
    parse_xml,
)

# Pairs of a grantee and a permission; lists, as JSON has no tuples.
Grants = Sequence[Sequence[str]]
OWNER = {"ID": "qcs::cam::uin/100000000001:uin/100000000001", "DisplayName": "100000000001"}
ALL_USERS = "http://cam.qcloud.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://cam.qcloud.com/groups/global/AuthenticatedUsers"
ANYONE_RE = re.compile(rf"{ALL_USERS}|(qcs::cam::)?anyone(:anyone)?")
CANNED_LISTS: Mapping[str, Grants] = {
    "private": (),
    "public-read": ((ALL_USERS, "READ"),),
    "public-read-write": ((ALL_USERS, "READ"), (ALL_USERS, "WRITE")),
    "authenticated-read": ((AUTHENTICATED_USERS, "READ"),),
    # the bucket's owner is the object's, too
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
}
XSI_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"
GRANT_HEADERS = {
    "x-cos-grant-read": "READ",
    "x-cos-grant-write": "WRITE",
    "x-cos-grant-read-acp": "READ_ACP",
    "x-cos-grant-write-acp": "WRITE_ACP",
    "x-cos-grant-full-control": "FULL_CONTROL",
}


def parse_grant_headers(headers: Mapping[str, str]) -> Grants | None:
    """Parse the access control list that a request's headers ask for.

    Returns:
        None where they ask for none, or for the bucket's.

    Raises:
        ErrorResponse: x-cos-acl has an unknown value
    """
    canned = headers.get("x-cos-acl", "")
    if canned not in ("", "default", *CANNED_LISTS):
        raise invalid_argument(f"x-cos-acl must be one of {', '.join(CANNED_LISTS)}.")
    grants = [list(grant) for grant in CANNED_LISTS.get(canned, ())]
    for name, permission in GRANT_HEADERS.items():
        for grantee in re.findall(r'(?:id|uri)="?([^",]+)', headers.get(name, "")):
            grants.append([_normalize(grantee), permission])
    if canned in ("", "default") and not grants:
        return None
    return grants


def parse_grant_body(body: bytes) -> Grants:
    """Parse an AccessControlPolicy.

    Raises:
        ErrorResponse: it is not valid
    """
    grants: list[list[str]] = []
    policy = parse_xml(body, "AccessControlPolicy")
    for grant in find_all(policy, "AccessControlList/Grant"):
        grantee = get_text(grant, "Grantee/URI") or get_text(grant, "Grantee/ID")
        permission = get_text(grant, "Permission")
        if not grantee or permission not in GRANT_HEADERS.values():
            raise malformed_xml("a <Grant> needs a <Grantee> and a <Permission>")
        if grantee != OWNER["ID"]:
            grants.append([_normalize(grantee), permission])
    return grants


def _normalize(grantee: str) -> str:
    return ALL_USERS if ANYONE_RE.fullmatch(grantee) else grantee


def allows_everyone(grants: Grants, permission: str) -> bool:
    """Return whether a list gives a permission to requests without a signature."""
    permissions = {granted for grantee, granted in grants if grantee == ALL_USERS}
    return not permissions.isdisjoint((permission, "FULL_CONTROL"))


def _render_grantee(kind: str, names: Mapping[str, str]) -> Element:
    return {"@xmlns:xsi": XSI_NAMESPACE, "@xsi:type": kind, **names}


def render_policy(grants: Grants) -> Element:
    """Render an AccessControlPolicy.

    The official Java client looks at the type of a grantee.
    """
    owner = _render_grantee("CanonicalUser", OWNER)
    rows: list[Element] = [{"Grantee": owner, "Permission": "FULL_CONTROL"}]
    for grantee, permission in grants:
        element = _render_grantee("Group", {"URI": grantee})
        if not grantee.startswith("http"):
            names = {"ID": grantee, "DisplayName": grantee.rpartition("/")[2]}
            element = _render_grantee("CanonicalUser", names)
        rows.append({"Grantee": element, "Permission": permission})
    return {"Owner": OWNER, "AccessControlList": {"Grant": rows}}


def name_canned_list(grants: Grants | None) -> str:
    """Return the x-cos-acl that stands for a list, "" where none does."""
    if grants is None:
        return "default"
    wanted = {tuple(grant) for grant in grants}
    for name, canned in CANNED_LISTS.items():
        if {tuple(grant) for grant in canned} == wanted:
            return name
    return ""
