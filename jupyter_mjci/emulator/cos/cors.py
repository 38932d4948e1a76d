"""Cross-origin requests: a bucket's own rules, and what is allowed where it has none.

A bucket without rules allows every origin here: which origins may
come this far at all is decided by the access policy.

https://cloud.tencent.com/document/product/436/8279
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.xml import Element, ErrorResponse, find_all, get_text, malformed_xml

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
MAX_RULES = 100
DEFAULT_MAX_AGE = 600  # seconds


@dataclass(frozen=True, slots=True)
class CorsRule:
    """A rule of a bucket; `*` stands for any text in origins and headers."""

    id: str
    origins: Sequence[str]
    methods: Sequence[str]
    headers: Sequence[str]
    exposed: Sequence[str]
    max_age: int | None

    def matches(self, origin: str, method: str, headers: Sequence[str]) -> bool:
        """Return whether a request of an origin, with these headers, is allowed."""
        if method not in self.methods:
            return False
        if not _matches_any(origin, self.origins):
            return False
        return all(_matches_any(name, self.headers) for name in headers)


ANY_ORIGIN = CorsRule("", ("*",), METHODS, ("*",), (), DEFAULT_MAX_AGE)


def _matches_any(text: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        expression = re.escape(pattern).replace(r"\*", ".*")
        if re.fullmatch(expression, text, re.IGNORECASE | re.DOTALL):
            return True
    return False


def parse_rules(request: Element) -> list[CorsRule]:
    """Parse a CORSConfiguration.

    Raises:
        ErrorResponse: a rule is not valid
    """
    rules = [_parse_rule(element) for element in find_all(request, "CORSRule")]
    if not 1 <= len(rules) <= MAX_RULES:
        raise malformed_xml(f"<CORSConfiguration> holds 1 to {MAX_RULES} <CORSRule>")
    return rules


def _parse_rule(element: Element) -> CorsRule:
    origins, methods, headers, exposed = (
        [text for text in find_all(element, name) if isinstance(text, str)]
        for name in ("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")
    )
    if not origins or not methods or not set(methods) <= set(METHODS):
        raise malformed_xml(
            f"a <CORSRule> needs <AllowedOrigin> and <AllowedMethod> ({', '.join(METHODS)})"
        )
    max_age = get_text(element, "MaxAgeSeconds")
    if not re.fullmatch(r"\d{0,9}", max_age, re.ASCII):
        raise malformed_xml("<MaxAgeSeconds> is not a number")
    rule_id = get_text(element, "ID")
    return CorsRule(rule_id, origins, methods, headers, exposed, int(max_age) if max_age else None)


def render_rules(rules: Sequence[CorsRule]) -> Element:
    """Render a CORSConfiguration."""
    return {"CORSRule": [_render_rule(rule) for rule in rules]}


def _render_rule(rule: CorsRule) -> Element:
    content: Element = {"ID": rule.id} if rule.id else {}
    content |= {
        "AllowedOrigin": rule.origins,
        "AllowedMethod": rule.methods,
        "AllowedHeader": rule.headers,
        "ExposeHeader": rule.exposed,
    }
    if rule.max_age is not None:
        content["MaxAgeSeconds"] = rule.max_age
    return content


def find_rule(request: Request, rules: Sequence[CorsRule]) -> CorsRule | None:
    """Return the first rule that allows a cross-origin request, None where none does."""
    origin = request.headers.get("origin", "")
    method = request.method
    names: list[str] = []
    if method == "OPTIONS":
        method = request.headers.get("access-control-request-method", "") or "GET"
        listed = request.headers.get("access-control-request-headers", "")
        names = [name.strip() for name in listed.split(",") if name.strip()]
    for rule in rules or [ANY_ORIGIN]:
        if rule.matches(origin, method, names):
            return rule
    return None


def build_cors_headers(
    request: Request, rule: CorsRule | None, response_headers: Mapping[str, str]
) -> dict[str, str]:
    """Build the headers that let a page of another origin read a response.

    Args:
        request: the request
        rule: the rule that allows it
        response_headers: the headers of the response, which are
            exposed where the rule names none
    """
    origin = request.headers.get("origin", "")
    if not origin or rule is None:
        return {}
    exposed = rule.exposed or [name for name in response_headers if name.lower() != "vary"]
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(exposed),
        "Vary": "Origin",
    }
    if request.method != "OPTIONS":
        return headers
    requested = request.headers.get("access-control-request-headers", "")
    headers["Access-Control-Allow-Methods"] = ", ".join(rule.methods)
    if requested:
        headers["Access-Control-Allow-Headers"] = requested
    if rule.max_age is not None:
        headers["Access-Control-Max-Age"] = str(rule.max_age)
    # https://developer.chrome.com/blog/private-network-access-preflight
    if request.headers.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def preflight_refused() -> ErrorResponse:
    """Build the error for a preflight request that no rule allows."""
    message = "CORSResponse: This CORS request is not allowed."
    return ErrorResponse(403, "AccessForbidden", message)
