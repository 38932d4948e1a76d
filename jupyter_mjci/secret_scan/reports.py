"""What a scan found as a baseline of known findings, and as SARIF 2.1.0."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.secret_scan import Leak

VERSION = 1
# A file relative to the baseline, a kind, a fingerprint. Without
# the location: cells move.
Finding = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The known findings of a file, which is kept beside what was scanned."""

    path: Path
    findings: frozenset[Finding]

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Read a baseline.

        Raises:
            InvalidRequest: there is none, or it is another file
        """
        hint = f"Write it: jupyter mjci scan PATH --baseline {path} --update-baseline"
        try:
            document = json.loads(path.read_text("utf-8"))
            version = document["version"]
            rows = [(row["file"], row["kind"], row["fingerprint"]) for row in document["findings"]]
        except OSError as error:
            raise InvalidRequest(
                f"Cannot read the baseline {path}.", detail=error.strerror or "", hint=hint
            ) from None
        except (ValueError, LookupError, TypeError, RecursionError):
            raise InvalidRequest(f"{path} is not a baseline.", hint=hint) from None
        if version != VERSION:
            raise InvalidRequest(
                f"{path} is a baseline of version {version!r}, not {VERSION}.", hint=hint
            )
        return cls(path, frozenset(rows))

    @staticmethod
    def write(path: Path, leaks: Iterable[Leak]) -> int:
        """Write the findings to a file; return how many."""
        findings = sorted({finding for leak in leaks for finding in _list_findings(path, leak)})
        names = ("file", "kind", "fingerprint")
        rows = [dict(zip(names, finding, strict=True)) for finding in findings]
        text = json.dumps({"version": VERSION, "findings": rows}, ensure_ascii=False, indent=1)
        path.write_text(f"{text}\n", "utf-8")
        return len(rows)

    def filter_new(self, leaks: Iterable[Leak]) -> list[Leak]:
        """Return the leaks with a secret that is not known, and what could not be read."""
        return [
            leak
            for leak in leaks
            if not leak.is_secret or not self.findings.issuperset(_list_findings(self.path, leak))
        ]


def _list_findings(baseline: Path, leak: Leak) -> list[Finding]:
    folder = baseline.absolute().parent
    name = Path(os.path.relpath(leak.path.absolute(), folder)).as_posix()
    return [(name, leak.kind, fingerprint) for fingerprint in leak.fingerprints]


def build_sarif(leaks: Iterable[Leak]) -> dict[str, Any]:
    """Build a SARIF log: a rule per kind, the location in a notebook as a logical one."""
    leaks = list(leaks)
    secrets = [leak for leak in leaks if leak.is_secret]
    kinds = sorted({leak.kind for leak in secrets})
    rules = [{"id": _make_rule_id(kind), "shortDescription": {"text": kind}} for kind in kinds]
    problems = [_build_notification(leak) for leak in leaks if not leak.is_secret]
    run = {
        "tool": {"driver": {"name": "jupyter mjci scan", "rules": rules}},
        "results": [_build_result(leak) for leak in secrets],
        "invocations": [
            {
                "executionSuccessful": not problems,
                "toolExecutionNotifications": problems,
            }
        ],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return {"$schema": schema, "version": "2.1.0", "runs": [run]}


def _build_result(leak: Leak) -> dict[str, Any]:
    return {
        "ruleId": _make_rule_id(leak.kind),
        "level": "error",
        "message": {"text": str(leak)},
        "locations": [_build_location(leak)],
        "partialFingerprints": {"mjciSecret/v1": ",".join(sorted(leak.fingerprints))},
    }


def _build_notification(leak: Leak) -> dict[str, Any]:
    return {
        "level": "warning",
        "message": {"text": str(leak)},
        "locations": [_build_location(leak)],
    }


def _build_location(leak: Leak) -> dict[str, Any]:
    uri = leak.path.absolute().as_uri()
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}}}
    if leak.location:
        location["logicalLocations"] = [{"fullyQualifiedName": leak.location}]
    return location


def _make_rule_id(kind: str) -> str:
    return "-".join(kind.lower().split())
