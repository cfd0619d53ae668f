"""What single candidate files state, from their name and text, under different settings."""

import gzip
import json
from pathlib import Path

import pytest

from starsmith.curate.licence_expression import UNKNOWN
from starsmith.curate.licence_statements import statements_of
from starsmith.settings import LicenceSettings

FIXED = LicenceSettings()
PAPER = LicenceSettings(readmes=True, headers=False, manifests=False, expressions=False, propagation="union")


@pytest.fixture(scope="module")
def mit(test_data: Path) -> str:
    lines = gzip.decompress((test_data / "licenses" / "spdx_texts.jsonl.gz").read_bytes()).splitlines()
    return next(row["text"] for row in map(json.loads, lines) if row["spdx_id"] == "MIT")


def stated(file_name: str, text: str, settings: LicenceSettings = FIXED) -> list[tuple[str, str]]:
    return [(each.kind, each.expression) for each in statements_of(file_name, text, settings)]


def test_a_licence_file_states_its_licence(mit: str) -> None:
    assert stated("LICENSE", mit) == [("licence_file", "MIT")]


def test_what_was_not_understood_is_not_passed_over(mit: str) -> None:
    assert stated("LICENSE", mit + "moreover you must not " * 200) == [("licence_file", f"{UNKNOWN} AND MIT")]
    assert stated("LICENSE", "All rights reserved. This agreement grants you nothing. " * 20) == [
        ("licence_file", UNKNOWN)
    ]


def test_pointers_and_code_state_nothing(mit: str) -> None:
    assert stated("LICENSE", "../LICENSE") == []
    assert stated("LICENSE.md", "See the file COPYING for the licence of this software.") == []
    assert stated("license.py", "def licence(text):\n    return text\n" * 100) == []
    assert stated("main.py", mit) == []


def test_notices_stand_for_texts(mit: str) -> None:
    assert stated("COPYING", "foo is licensed under the GNU General Public License, version 2 or later.") == [
        ("licence_file", "GPL-2.0-or-later")
    ]
    assert stated("LICENSE.txt", "MIT\n") == [("licence_file", "MIT")]
    assert stated("LICENSE", "MIT\n", LicenceSettings(min_score=90.0)) == []


def test_readmes_count_only_where_they_are_asked_for(mit: str) -> None:
    readme = (
        "# foo\n\nDoes foo; a replacement for the GPL library bar.\n\n## License\n\nReleased under the MIT license.\n"
    )
    assert stated("README.md", readme) == []
    assert stated("README.md", readme, PAPER) == [("readme", "MIT")]
    assert stated("README.md", "Much prose. " * 100 + mit, PAPER) == [("readme", "MIT")]
    assert stated("NOTICE", "Foo\nCopyright 2020 X\n", PAPER) == []


def test_manifests_count_only_where_they_are_asked_for() -> None:
    assert stated("package.json", '{"license": "MIT"}') == [("manifest", "MIT")]
    assert stated("package.json", '{"license": "MIT"}', PAPER) == []
