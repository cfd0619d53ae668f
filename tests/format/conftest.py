"""A small tokenizer and real texts, for every test of formatting."""

import sysconfig
from pathlib import Path

import pytest

from starsmith.format.tokenizer_training import trained_on

VOCABULARY = 1200


def _texts(folder: str, pattern: str, *, every: int, most: int) -> list[str]:
    paths = sorted(Path(sysconfig.get_path(folder)).rglob(pattern))[::every]
    found = []
    for path in paths[:most]:
        try:
            found.append(path.read_text("utf-8")[:20_000])
        except (UnicodeDecodeError, OSError):
            continue
    return found


@pytest.fixture(scope="session")
def real_texts():
    """A few hundred files of this Python and of what is installed beside it, in more than one language."""
    texts = _texts("stdlib", "*.py", every=9, most=120) + _texts("purelib", "*.py", every=60, most=120)
    for pattern in ("*.md", "*.js", "*.h", "*.txt", "*.json"):
        texts += _texts("purelib", pattern, every=3, most=30)
    assert len(texts) > 200
    return texts


@pytest.fixture(scope="session")
def tokenizer(real_texts):
    return trained_on([real_texts[::3]], vocabulary=VOCABULARY)
