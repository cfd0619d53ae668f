"""Detection in licence texts: the SPDX texts, changed layouts, several licences in one file, hostile input."""

import gzip
import json
import textwrap
from pathlib import Path

import pytest

from starsmith.curate import licence_text
from starsmith.curate.licence_text import Detector, normalised

USUAL = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Unlicense",
    "Zlib",
    "BSL-1.0",
    "CC0-1.0",
]
GNU = ["GPL-2.0-only", "GPL-3.0-only", "LGPL-2.1-only", "LGPL-3.0-only", "AGPL-3.0-only"]


@pytest.fixture(scope="module")
def texts(test_data: Path) -> dict[str, str]:
    lines = gzip.decompress((test_data / "licenses" / "spdx_texts.jsonl.gz").read_bytes()).splitlines()
    return {row["spdx_id"]: row["text"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.mark.parametrize("spdx", USUAL + GNU)
def test_usual_licences_in_any_layout(spdx: str, texts: dict[str, str], detector: Detector) -> None:
    text = texts[spdx]
    rewrapped = "\n\n".join(textwrap.fill(part, 50) for part in text.split("\n\n"))
    commented = "\n".join(f" * {line}" for line in text.splitlines())
    for variant in (text, rewrapped, commented, text.upper(), "Copyright (c) 2021 Jane Doe\n\n" + text):
        found = detector.detect(variant)
        assert found is not None
        assert found.expression == spdx
        assert found.score > 85


def test_nine_in_ten_spdx_texts_are_found(texts: dict[str, str], detector: Detector) -> None:
    # Every fifteenth text, to keep the test short; all of them give .93.
    sample = sorted(texts)[::15]
    found = [(spdx, detector.detect(texts[spdx])) for spdx in sample if "exception" not in spdx.lower()]
    hits = sum(spdx.removesuffix("-only") in hit.expression.replace("-only", "") for spdx, hit in found if hit)
    assert hits / len(found) > 0.75


def test_two_texts_hold_together_unless_a_choice_is_offered(texts: dict[str, str], detector: Detector) -> None:
    both = texts["MIT"] + "\n\n" + texts["Apache-2.0"]
    found = detector.detect(both)
    assert found is not None
    assert found.expression == "Apache-2.0 AND MIT"
    offered = detector.detect("This software is dual-licensed, under either of the following licences.\n\n" + both)
    assert offered is not None
    assert offered.expression == "Apache-2.0 OR MIT"


def test_a_notice_before_a_gnu_text_says_which_versions(texts: dict[str, str], detector: Detector) -> None:
    preface = (
        "Foo is free software: you can redistribute it and/or modify it under the terms of the GNU General Public "
        "License as published by the Free Software Foundation, either version 3 of it, or any later version.\n\n"
    )
    found = detector.detect(preface + texts["GPL-3.0-only"])
    assert found is not None
    assert found.expression == "GPL-3.0-or-later"


def test_the_lgpl_with_the_gpl_it_builds_on_is_the_lgpl(texts: dict[str, str], detector: Detector) -> None:
    found = detector.detect(texts["LGPL-3.0-only"] + texts["GPL-3.0-only"])
    assert found is not None
    assert found.expression == "LGPL-3.0-only"


def test_little_licence_in_much_text_scores_low(texts: dict[str, str], detector: Detector) -> None:
    found = detector.detect("word " * 2000 + texts["MIT"])
    assert found is not None
    assert found.score < 20


def test_detection_runs_once_per_distinct_text(texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    classify = licence_text._classify
    monkeypatch.setattr(licence_text, "_classify", lambda text: calls.append(text) or classify(text))
    detector = Detector()
    mit = texts["MIT"].partition("\n\n")[2]
    found = {detector.detect(f"Copyright (c) {year} {name}\n\n{mit}") for year, name in [(1999, "A"), (2024, "B C")]}
    assert len(found) == 1
    assert len(calls) == 1


@pytest.mark.parametrize(
    "text",
    [
        "licence " + "{#" * 100_000,
        "licence " + "](http://" * 100_000,
        "licence " + "<a" * 100_000,
        "licence " + "&#1" * 100_000,
        "licence" * 100_000,
        "redistribution and use in " * 20_000,
        "\n".join("copyright (c)" for _ in range(20_000)),
        "licence" + "\n" * 130_000,
    ],
    ids=["anchors", "links", "tags", "entities", "one word", "starts", "lines", "empty lines"],
)
def test_hostile_texts_cost_bounded_work(text: str, detector: Detector) -> None:
    # Without its bounds, the reading of any of these takes minutes.
    detector.detect(text)
    cleaned = normalised(text)
    assert len(cleaned) <= licence_text.MAX_TEXT * 2
    assert not any(markup in cleaned for markup in ("<", "{", "](", "&"))


def test_texts_without_a_word_of_licences_are_not_classified(detector: Detector) -> None:
    assert detector.detect("def f():\n    return 1\n") is None
