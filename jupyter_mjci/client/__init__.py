"""HTTP independent of a service: calls, jobs, transport, event
loop, settings, redaction, recordings.
"""
