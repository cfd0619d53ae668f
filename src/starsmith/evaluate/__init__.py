"""Evaluation: generated programs, run where they can do no harm, and what became of each.

`sandbox.Sandbox` is the way in; `run` holds what goes in and what comes out. Nothing here knows a benchmark.
"""
