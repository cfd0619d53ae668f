"""The grammar, the names, the normal form and the judgement of licence expressions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate import licence_expression as expression
from starsmith.curate.licence_expression import UNKNOWN, license_type, normalise

IDS = st.sampled_from(
    ["MIT", "Apache-2.0", "GPL-2.0-only", "GPL-3.0-or-later", "BSD-3-Clause", "LicenseRef-scancode-dco-1.1"]
    + ["Apache-2.0 WITH LLVM-exception", "LicenseRef-Acme", "0BSD"]
)
EXPRESSIONS = st.recursive(
    IDS, lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("MIT/Apache-2.0", "Apache-2.0 OR MIT"),
        ("Apache-2.0 or MIT", "Apache-2.0 OR MIT"),
        ("MIT OR GPL-2.0 AND ISC", "GPL-2.0-only AND ISC OR MIT"),
        ("(MIT OR GPL-2.0) AND ISC", "(GPL-2.0-only OR MIT) AND ISC"),
        ("MIT AND MIT", "MIT"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("Apache-2.0+", "Apache-2.0+"),
        ("GPL v2 or later", "GPL-2.0-or-later"),
        ("GPL (>= 2)", "GPL-2.0-or-later"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("MIT WITH Commons-Clause", "MIT WITH LicenseRef-scancode-commons-clause"),
        ("MIT WITH Nonsense", f"MIT WITH {UNKNOWN}"),
        ("License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("License :: Public Domain", "LicenseRef-scancode-public-domain"),
        ("The Frobnicator License", UNKNOWN),
        ("MIT AND Frobnicate", f"{UNKNOWN} AND MIT"),
        ('BSD 3-Clause "New" or "Revised" License', "BSD-3-Clause"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("perl_5", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("LicenseRef-Acme", "LicenseRef-Acme"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text", ["", "  ", "MIT AND", "OR MIT", "(MIT", "MIT)", "()", "(" * 500 + "MIT", "MIT " * 2000]
)
def test_malformed_text_states_nothing(text: str) -> None:
    assert normalise(text) is None


@pytest.mark.parametrize(
    ("text", "by_choice", "by_set"),
    [
        ("MIT", "permissive", "permissive"),
        ("MIT OR GPL-3.0-only", "permissive", "non_permissive"),
        ("MIT AND GPL-3.0-only", "non_permissive", "non_permissive"),
        ("LicenseRef-scancode-dco-1.1", "no_license", "no_license"),
        ("MIT AND LicenseRef-scancode-dco-1.1", "permissive", "permissive"),
        (f"MIT AND {UNKNOWN}", "non_permissive", "permissive"),
        (UNKNOWN, "non_permissive", "non_permissive"),
        ("Apache-2.0 WITH LLVM-exception", "permissive", "permissive"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "non_permissive", "non_permissive"),
        ("MIT WITH Commons-Clause", "non_permissive", "non_permissive"),
        ("MIT WITH Nonsense", "non_permissive", "permissive"),
        ("LicenseRef-scancode-public-domain", "permissive", "permissive"),
        ("Artistic-2.0", "permissive", "permissive"),
        ("MPL-2.0", "non_permissive", "non_permissive"),
        ("CC-BY-NC-4.0", "non_permissive", "non_permissive"),
    ],
)
def test_types_under_both_rules(text: str, by_choice: str, by_set: str) -> None:
    assert license_type(text) == by_choice
    assert license_type(text, expressions=False) == by_set


@given(EXPRESSIONS)
def test_normal_form_is_a_fixed_point(text: str) -> None:
    once = normalise(text)
    assert once is not None
    assert normalise(once) == once


@given(EXPRESSIONS, EXPRESSIONS)
def test_order_of_parts_does_not_matter(one: str, other: str) -> None:
    for operator in ("AND", "OR"):
        assert normalise(f"({one}) {operator} ({other})") == normalise(f"({other}) {operator} ({one})")


@given(EXPRESSIONS, EXPRESSIONS)
def test_a_choice_is_never_worse_and_a_sum_never_better(one: str, other: str) -> None:
    if license_type(one) == "permissive":
        assert license_type(f"({one}) OR ({other})") == "permissive"
    if license_type(one) == "non_permissive":
        assert license_type(f"({one}) AND ({other})") == "non_permissive"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = normalise(text)
    assert found is None or normalise(found) == found


def test_permissive_list_is_the_union_of_both_sources() -> None:
    permissive = expression.permissive_ids()
    assert {"MIT", "Unlicense", "0BSD", "LPPL-1.3c", "LicenseRef-scancode-public-domain"} <= permissive
    assert not {"GPL-2.0-only", "MPL-2.0", "CC-BY-SA-4.0", "SSPL-1.0", "BUSL-1.1", "JSON-X"} & permissive
    assert len(permissive) > 900
    assert {source["version"] for source in expression.data_sources()} == {"15.0.0", "32.1.0"}


def test_neutral_ids_are_known_to_the_data() -> None:
    assert all(expression.known_id(spdx) == spdx for spdx in expression.NEUTRAL)
    assert len(expression.NEUTRAL) == 10
