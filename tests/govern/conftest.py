"""Releases that follow one another, for what is said of two of them."""

import dataclasses
import shutil
from pathlib import Path

import pytest

LEAVING = "https://example.org/acme/alpha"
MARKER = "marker_of_a_file_that_left"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Successive:
    """The folders of three releases of one corpus, in time.

    From the first to the second `acme/alpha` leaves, which begins a shard, holds MARKER, and has copies in other
    repositories, some of which return. The third has another repository besides.
    """

    first: Path
    second: Path
    third: Path
    leaving: str = LEAVING
    marker: str = MARKER


@pytest.fixture(scope="session")
def successive(tmp_path_factory, corpus, build_into, mit, source_code) -> Successive:
    folder = tmp_path_factory.mktemp("successive")
    own = dataclasses.replace(corpus, folder=Path(shutil.copytree(corpus.folder, folder / "repositories")))
    alpha = {f"src/m{i}.py": source_code(i) for i in range(9)}
    own.add("acme/alpha", {"LICENSE": mit, **alpha, "own.py": source_code("own") + f"# {MARKER}\n".encode()})
    names = []
    new = {"LICENSE": mit, "new.py": source_code("new"), **alpha}
    for change in (lambda: None, lambda: own.remove("acme/alpha"), lambda: own.add("acme/new", new)):
        change()
        names.append(build_into(own.recipe(), folder / "w", workers=0).record.release)
    first, second, third = (folder / "w" / name for name in names)
    return Successive(first=first, second=second, third=third)
