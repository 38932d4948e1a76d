"""Tencent Cloud Infinite and COS: calls, parsers, signatures, XML, reconciliation, diagnostics."""
