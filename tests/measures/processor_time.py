"""Processor time of this process, measured so that a test on it fails for the work and for nothing else.

A full collection of garbage takes half a second once thousands of tests have left their objects behind, so none
happens while work is measured. What noise is left passes: a claim that fails is measured again.
"""

import gc
import time
from collections.abc import Callable

ATTEMPTS = 3
LEAST_SECONDS = 0.01
"""Processor time below which nothing can be said, and nobody need care."""


def seconds(work: Callable[[], object]) -> float:
    collects = gc.isenabled()
    gc.disable()
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        if collects:
            gc.enable()


def takes_at_most(times: float, work: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether `work` takes at most so many times as long as `other`, in one of a few attempts."""
    return any(seconds(work) <= times * max(seconds(other), LEAST_SECONDS) for _ in range(ATTEMPTS))
