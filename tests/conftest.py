"""What every test may use: real data from outside the repository, and the repository itself."""

import os
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).parent.parent

# Times vary with the machine's load; no test asserts one.
hypothesis.settings.register_profile("starsmith", deadline=None, max_examples=60)
hypothesis.settings.load_profile("starsmith")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout these tests stand in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Small real files, described by their README: a folder beside the checkout, or wherever STARSMITH_TEST_DATA says.

    Without them a test is skipped; in CI, where they must be, it fails.
    """
    folder = Path(os.environ.get("STARSMITH_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if folder.is_dir():
        return folder
    reason = f"There is no test data at {folder}; set STARSMITH_TEST_DATA to its folder."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
