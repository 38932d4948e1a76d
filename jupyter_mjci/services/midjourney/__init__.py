"""Midjourney proxies (`/mj/...`): calls, parsers, reconciliation, fallbacks, diagnostics."""
