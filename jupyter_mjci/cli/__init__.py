"""The command line, `jupyter mjci`: serve the sandbox, run the demo, watch and cancel jobs.

It uses the settings and the journal that notebooks use, so it can
watch jobs while their kernel is busy.
"""
