"""The services: one folder each, with the calls they take and the responses they send."""
