"""Midjourney proxies (`/mj/...`): calls, responses, reconciliation, fallbacks, diagnostics."""
