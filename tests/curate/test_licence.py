"""Names of candidate files, and what files state about themselves."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.licence import candidate_kind, header_statement, header_statements, plain_statement

GPL = """is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
version. This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY. See the GNU General
Public License for more details. You should have received a copy of the GNU General Public License; if not, write to
the Free Software Foundation, Inc., 51 Franklin Street."""
MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files, to deal in the Software without restriction, subject to the following conditions: The above
copyright notice and this permission notice shall be included in all copies. THE SOFTWARE IS PROVIDED "AS IS"."""
BSD = """Redistribution and use in source and binary forms, with or without modification, are permitted provided that:
1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice."""
ASF = """Licensed to the Apache Software Foundation (ASF) under one or more contributor license agreements. The ASF
licenses this file to you under the Apache License, Version 2.0 (the "License")."""


def comment(marker: str, text: str) -> str:
    return "".join(f"{marker} {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("file_name", "kind"),
    [
        ("LICENSE", "licence_file"),
        ("licence.txt", "licence_file"),
        ("COPYING.LESSER", "licence_file"),
        ("MIT-LICENSE.md", "licence_file"),
        ("UNLICENSE", "licence_file"),
        ("gpl-3.0.txt", "licence_file"),
        ("my_license.py", "licence_file"),
        ("THIRD-PARTY-LICENSES", "readme"),
        ("README.md", "readme"),
        ("NOTICE", "readme"),
        ("package.json", "manifest"),
        ("foo.gemspec", "manifest"),
        ("relicensed.txt", None),
        ("submit.py", None),
        ("main.c", None),
        ("x" * 300 + "-LICENSE", None),
    ],
)
def test_candidates_by_name(file_name: str, kind: str | None) -> None:
    assert candidate_kind(file_name) == kind


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("// SPDX-License-Identifier: MIT\nint a;\n", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */\n", "GPL-2.0-only WITH Linux-syscall-note"),
        ("<!-- SPDX-License-Identifier: (MIT OR Apache-2.0) -->\n", "Apache-2.0 OR MIT"),
        ("#!/bin/sh\n#\n# spdx-license-identifier: isc\n", "ISC"),
        ("dnl SPDX-License-Identifier: MIT\n", "MIT"),
        ("(* SPDX-License-Identifier: MIT *)\n", "MIT"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: ISC\n", "ISC AND MIT"),
        ("# Copyright 2020 X\r\n# SPDX-License-Identifier: MIT\r\n", "MIT"),
        (comment("#", "This program " + GPL), "GPL-2.0-or-later"),
        ("/*\n" + comment(" *", "This program " + GPL) + " */\n", "GPL-2.0-or-later"),
        (
            comment("//", GPL.replace("General", "Lesser General").replace("version 2", "version 2.1")),
            "LGPL-2.1-or-later",
        ),
        (comment("//", GPL.replace(", or (at your option) any later\nversion", "")), "GPL-2.0-only"),
        (
            comment(";;", GPL.replace("General", "Affero General").replace("version 2", "version 3")),
            "AGPL-3.0-or-later",
        ),
        ("# Licensed under the GNU General Public License v3.\n", "GPL-3.0-only"),
        (comment("#", ASF), "Apache-2.0"),
        ('"""A module.\n\n' + MIT + '\n"""\nimport os\n', "MIT"),
        (comment("//", BSD), "BSD-2-Clause"),
        (comment("//", BSD + "\n3. Nor may names be used to endorse or promote products."), "BSD-3-Clause"),
        ("// Distributed under the Boost Software License, Version 1.0.\n", "BSL-1.0"),
        ("// This Source Code Form is subject to the terms of the Mozilla Public\n// License, v. 2.0.\n", "MPL-2.0"),
        ("/*! x v1.2 | (c) Jane | Released under the MIT license */\n", "MIT"),
        ("// This source code is licensed under the MIT license found in the LICENSE file\n", "MIT"),
        (
            "// Licensed under the Apache License, Version 2.0 or the MIT license, at your option.\n",
            "Apache-2.0 OR MIT",
        ),
        ("# License: BSD 3 clause\n", "BSD-3-Clause"),
        ("/**\n * @license Apache-2.0\n */\n", "Apache-2.0"),
        ("# This file has been placed in the public domain.\n", "LicenseRef-scancode-public-domain"),
        ("// Unauthorized copying of this file is strictly prohibited.\n", "LicenseRef-scancode-proprietary-license"),
    ],
)
def test_statements_in_heads(head: str, expected: str) -> None:
    found = header_statement(head.encode())
    assert found is not None
    assert (found.kind, found.expression) == ("header", expected)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "import os\n# SPDX-License-Identifier: MIT\n",
        'TAG = "SPDX-License-Identifier: GPL-3.0-only"\n',
        "def test():\n    assert detect('licensed under the MIT license')\n",
        "# REUSE-IgnoreStart\n# SPDX-License-Identifier: MIT\n",
        '"""Finds lines such as `SPDX-License-Identifier: MIT` in files."""\n',
        "# Use of this source code is governed by a BSD-style license that can be found in LICENSE.\n",
        "# :license: BSD, see LICENSE for details.\n",
        "# See the LICENSE file for the license.\n",
        "# Algorithm from a public domain implementation by Jane.\n",
        "\n" * 5000 + "# SPDX-License-Identifier: MIT\n",
    ],
)
def test_talk_about_licences_states_nothing(head: str) -> None:
    assert header_statement(head.encode()) is None


def test_a_restriction_makes_a_permissive_text_unknown() -> None:
    found = header_statement(comment("//", MIT + "\nFor non-commercial use only.").encode())
    assert found is not None
    assert found.expression == "LicenseRef-scancode-unknown-license-reference"


def test_batch_equals_one_by_one_on_slices_and_nulls() -> None:
    heads = [
        b"import os\n",
        b"# SPDX-License-Identifier: MIT\n",
        None,
        b"",
        comment("#", "X " + GPL).encode(),
        b"\xff\xfe",
    ]
    texts = pa.array(heads, pa.large_binary())
    expected = [None if head is None else header_statement(head) for head in heads]
    assert header_statements(texts) == expected
    assert header_statements(texts.slice(1, 4)) == expected[1:5]
    assert header_statements(texts.slice(0, 0)) == []


@given(
    st.lists(st.sampled_from(["import os", "int x;", "", "# note", "{", "x = 1  # licence"]), max_size=4),
    st.sampled_from(["#", "//", "--", ";", "%", " *", "dnl", "REM", "!", "C"]),
    st.sampled_from(["SPDX-License-Identifier: MIT", "Released under the MIT license.", "License: GPL-3.0"]),
)
def test_the_gate_loses_nothing_the_reader_finds(before: list[str], marker: str, text: str) -> None:
    from starsmith.curate.licence import _read_head

    head = ("\n".join([*before, f"{marker} {text}"]) + "\n").encode()
    assert header_statement(head) == _read_head(head)


def test_plain_statements_in_prose() -> None:
    assert plain_statement("# License\n\nThis project is licensed under the terms of the MIT license.") == "MIT"
    assert plain_statement("Apache License 2.0") == "Apache-2.0"
    assert plain_statement("see ../LICENSE") is None
