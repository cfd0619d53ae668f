"""Licence fields of package manifests of every kind that is read, sound and malformed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.licence_manifests import MAX_MANIFEST, manifest_statement

PROPRIETARY = "LicenseRef-scancode-proprietary-license"
UNKNOWN = "LicenseRef-scancode-unknown-license-reference"
POM = """<project><!-- <licenses><license><name>GPL</name></license></licenses> -->
<licenses><license><name>Apache License, Version 2.0</name></license>
<license><name>Unheard of</name><url>https://opensource.org/licenses/MIT</url></license></licenses></project>"""
METADATA = "Metadata-Version: 2.1\nName: x\nLicense: {}\nClassifier: License :: OSI Approved :: {}\n\nLicense: GPL\n"


@pytest.mark.parametrize(
    ("file_name", "text", "expected"),
    [
        ("package.json", '{"license": "MIT"}', "MIT"),
        ("package.json", '{"license": "(MIT OR GPL-3.0)"}', "GPL-3.0-only OR MIT"),
        ("package.json", '{"license": {"type": "ISC", "url": "x"}}', "ISC"),
        ("package.json", '{"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}', "GPL-2.0-only OR MIT"),
        ("package.json", '{"license": "UNLICENSED"}', PROPRIETARY),
        ("package.json", '{"license": "SEE LICENSE IN eula.txt"}', None),
        ("package.json", '{"license": 7}', None),
        ("package.json", '["license"]', None),
        ("package.json", '{"license": "MIT"', None),
        ("package.json", '{"license":' + "[" * 100_000, None),
        ("composer.json", '{"license": ["MIT", "GPL-2.0-or-later"]}', "GPL-2.0-or-later OR MIT"),
        ("dub.json", '{"license": "BSL-1.0"}', "BSL-1.0"),
        ("META.json", '{"license": ["perl_5"], "meta-spec": {}}', "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("META.json", '{"license": ["perl_5"]}', None),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "Apache-2.0 OR MIT"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MIT"\n', "MIT"),
        ("Cargo.toml", "[package]\nlicense.workspace = true\n", None),
        ("Cargo.toml", '[package]\nlicense = "MIT\n', None),
        ("pyproject.toml", '[project]\nlicense = "BSD-3-Clause AND MIT"\n', "BSD-3-Clause AND MIT"),
        ("pyproject.toml", '[project]\nlicense = {text = "Apache 2.0"}\n', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {file = "LICENSE"}\n', None),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "GPL-3.0-or-later"\n', "GPL-3.0-or-later"),
        ("setup.cfg", "[metadata]\nname = x\nlicense = BSD 3-Clause\n[options]\nlicense = GPL\n", "BSD-3-Clause"),
        ("setup.cfg", "[metadata]\nclassifiers =\n    A :: B\n    License :: OSI Approved :: MIT License\n", "MIT"),
        ("setup.py", 'setup(\n    name="x",\n    license="MIT",\n)', "MIT"),
        ("METADATA", METADATA.format("MIT", "Apache Software License"), "MIT"),
        ("METADATA", METADATA.format("Dual License", "Apache Software License"), "Apache-2.0"),
        (
            "METADATA",
            "License: (c) 2025 X\n     \n     Terms\nClassifier: License :: OSI Approved :: MIT License\n",
            "MIT",
        ),
        ("PKG-INFO", "License-Expression: MIT OR GPL-2.0-only\nLicense: GPL\n", "GPL-2.0-only OR MIT"),
        ("pom.xml", POM, "Apache-2.0 OR MIT"),
        ("pom.xml", "<licenses><license><name>House licence</name></license></licenses>", UNKNOWN),
        ("x.gemspec", "  s.licenses = ['MIT', 'Ruby']\n", "MIT AND Ruby"),
        ("x.podspec", "  s.license = { :type => 'MIT', :file => 'LICENSE' }\n", "MIT"),
        ("DESCRIPTION", "Package: x\nLicense: GPL (>= 2) | file LICENSE\n", "GPL-2.0-or-later"),
        ("DESCRIPTION", "Package: x\nLicense: MIT + file LICENSE\n", "MIT"),
        ("DESCRIPTION", "This text describes a license: MIT\n", None),
        ("x.cabal", "name: x\nlicense: BSD3\nlicense-file: LICENSE\n", "BSD-3-Clause"),
        ("x.nimble", 'license       = "MIT"\n', "MIT"),
        ("x.opam", 'license: ["MIT" "ISC"]\n', "ISC AND MIT"),
        ("x.rockspec", 'description = {\n   license = "MIT/X11"\n}\n', "MIT"),
        ("mix.exs", 'package: [licenses: ["Apache-2.0"]]', "Apache-2.0"),
        ("notes.txt", "license = MIT", None),
    ],
)
def test_fields(file_name: str, text: str, expected: str | None) -> None:
    found = manifest_statement(file_name, text)
    assert (found.expression if found else None) == expected


@pytest.mark.parametrize(
    "file_name", ["Cargo.toml", "pyproject.toml", "setup.cfg", "setup.py", "a.gemspec", "a.opam", "pom.xml"]
)
@pytest.mark.parametrize("text", ["a." * 130_000, "\n" * 260_000, " " * 260_000, "<name>" * 40_000, "(" * 260_000])
def test_hostile_manifests_state_nothing_soon(file_name: str, text: str) -> None:
    # Without their bounds, the readers would be busy for minutes.
    assert manifest_statement(file_name, "license" + text) is None


def test_a_manifest_beyond_the_limit_states_nothing() -> None:
    assert manifest_statement("package.json", '{"license": "MIT", "x": "' + "a" * MAX_MANIFEST + '"}') is None


@given(
    st.sampled_from(
        ["package.json", "Cargo.toml", "setup.cfg", "METADATA", "pom.xml", "DESCRIPTION", "a.gemspec", "a.cabal"]
    ),
    st.text(alphabet=st.sampled_from("license:=\"'[]{}<>/\n |+()MIT,\\\0\u00e9"), max_size=200),
)
def test_no_text_raises(file_name: str, text: str) -> None:
    manifest_statement(file_name, "license" + text)
