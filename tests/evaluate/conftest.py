"""What tests of the sandbox share: the sandbox, and a place to attack it from where a success would harm nothing."""

import os
import shutil

import pytest

from starsmith.errors import StarsmithError
from starsmith.evaluate.run import Limits
from starsmith.evaluate.sandbox import Sandbox


def refuse(reason: str) -> None:
    """Skip, and in CI, where the sandbox must work, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def box():
    """A sandbox under small limits, two workers."""
    if shutil.which("bwrap") is None:
        refuse("bubblewrap is not installed.")
    limits = Limits(
        cpu_seconds=1,
        wall_seconds=20,
        address_bytes=512 << 20,
        memory_bytes=256 << 20,
        processes=16,
        file_bytes=4 << 20,
        files=64,
        output_bytes=1 << 20,
        open_files=64,
    )
    try:
        with Sandbox(limits=limits, workers=2) as box:
            yield box
    except StarsmithError as error:
        refuse(str(error))
