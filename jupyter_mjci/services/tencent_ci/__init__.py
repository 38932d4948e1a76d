"""Tencent CI and COS: calls, responses, reconciliation, signatures, objects, diagnostics."""
