"""The job services: one folder each, with everything that is specific to it."""
