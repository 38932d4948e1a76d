"""Submission on virtual time: the real code, with every crash point and fault, in one thread.

A schedule is a scenario that says everything: it is replayed by its name.
"""
