"""Encodings: what is text, in which encoding, and what is refused."""

import codecs
from pathlib import Path
from typing import Any

import chardet
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starsmith.curate.encoding import SAMPLE_BYTES, DecodedOne, decode, decode_one, odd_rows
from starsmith.verdict import REASONS

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))

GERMAN = """/* Prüft, ob der Puffer groß genug ist, und vergrößert ihn nötigenfalls.
 * Rückgabewert: Länge der gültigen Daten, oder -1 für „ungültig“.
 */
int prüfe_größe(struct puffer *p) { return p->länge; }
"""
FRENCH = """# Vérifie que le fichier a été créé, même si l'accès est refusé.
# À améliorer : la lecture des caractères accentués (où ? là).
def creer(nom): return open(nom, "w")
"""
RUSSIAN = """// Проверяет длину буфера и при необходимости увеличивает его.
// Возвращает число прочитанных байтов.
int read(char *buffer, int size) { return size; }  // пока не работает
"""
JAPANESE = """/* 配列の長さを確認して、必要ならメモリを再確保する。
 * 戻り値：成功した場合は０、失敗した場合はエラー番号。
 */
int 確認(void) { return 0; } // テスト用の関数です
"""
CHINESE = """// 检查数组的长度，如果不够就重新分配内存。
// 返回值：成功返回零，失败返回错误代码。
int check(void) { return 0; } // 这是一个测试函数
"""
KOREAN = """// 배열의 길이를 확인하고 필요하면 메모리를 다시 할당합니다.
// 반환값: 성공하면 0, 실패하면 오류 코드를 반환합니다.
int check(void) { return 0; } // 이것은 테스트 함수입니다
"""
GREEK = "// Ελέγχει το μήκος του πίνακα και επιστρέφει τον αριθμό των στοιχείων.\nint check(void);\n"
POLISH = "-- Sprawdza długość bufora i w razie potrzeby go powiększa; zwraca liczbę wczytanych bajtów.\nSELECT 1;\n"


def batch(*contents: bytes) -> pa.LargeBinaryArray:
    return pa.array(contents, pa.large_binary())


@given(TEXTS.filter(lambda text: not text.startswith("\ufeff")))
def test_utf8_comes_back_as_it_is(text: str) -> None:
    assert decode_one(text.encode()) == DecodedOne(text=text.encode(), encoding="UTF-8")


@given(
    TEXTS,
    st.sampled_from(
        [
            (codecs.BOM_UTF8, "UTF-8"),
            (codecs.BOM_UTF16_LE, "UTF-16LE"),
            (codecs.BOM_UTF16_BE, "UTF-16BE"),
            (codecs.BOM_UTF32_LE, "UTF-32LE"),
            (codecs.BOM_UTF32_BE, "UTF-32BE"),
        ]
    ),
)
def test_a_byte_order_mark_decides_and_is_stripped(text: str, marked: tuple[bytes, str]) -> None:
    mark, encoding = marked
    assert decode_one(mark + text.encode(encoding)) == DecodedOne(text=text.encode(), encoding=encoding)


CONTENTS = st.one_of(TEXTS.map(str.encode), st.binary(max_size=40), TEXTS.map(lambda text: text.encode("utf-16")))


@given(st.lists(CONTENTS))
def test_a_batch_is_its_contents_one_by_one(contents: list[bytes]) -> None:
    decoded = decode(batch(*contents))
    rows = zip(
        decoded.texts.to_pylist(),
        decoded.encodings.to_pylist(),
        decoded.reasons.to_pylist(),
        decoded.details.to_pylist(),
        strict=True,
    )
    assert list(rows) == [(one.text, one.encoding, one.reason, one.detail) for one in map(decode_one, contents)]
    decoded.texts.cast(pa.large_string()).validate(full=True)


@given(st.binary())
def test_any_bytes_are_text_or_refused_for_a_known_reason(content: bytes) -> None:
    one = decode_one(content)
    if one.encoding is None:
        assert one.reason in REASONS
        assert one.detail
        assert one.text == b""
    else:
        assert (one.reason, one.detail) == (None, None)
        # Any Python can give the text again from the content and the name; only a mark at the start is gone.
        assert content.decode(one.encoding).removeprefix("\ufeff") == one.text.decode().removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("text", "codec", "encoding"),
    [
        (GERMAN.replace("„", '"').replace("“", '"'), "latin-1", "ISO-8859-1"),
        (GERMAN, "cp1252", "WINDOWS-1252"),
        (FRENCH, "latin-1", "ISO-8859-1"),
        (RUSSIAN, "cp1251", "WINDOWS-1251"),
        (RUSSIAN, "koi8-r", "KOI8-R"),
        (RUSSIAN, "cp866", "IBM866"),
        (JAPANESE, "shift_jis", "SHIFT_JIS"),
        (JAPANESE + "// ①②③ の順に\n", "cp932", "CP932"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (CHINESE, "gb18030", "GB18030"),
        (CHINESE, "gbk", "GB18030"),
        (KOREAN, "euc_kr", "EUC-KR"),
        (GREEK, "cp1253", "WINDOWS-1253"),
        (POLISH, "cp1250", "WINDOWS-1250"),
        (POLISH, "iso8859-2", "ISO-8859-2"),
    ],
)
@pytest.mark.parametrize("english_lines", [0, 2000])
def test_source_code_with_comments_in_a_legacy_encoding(
    text: str, codec: str, encoding: str, english_lines: int
) -> None:
    text += "static int counter = 0; // the number of calls so far\n" * english_lines
    one = decode_one(text.encode(codec))
    assert (one.text.decode(), one.encoding) == (text, encoding)


def test_a_declared_encoding_is_believed_where_it_fits() -> None:
    text = "# -*- coding: iso-8859-15 -*-\nprice = '5 €'  # Süß\n"
    assert decode_one(text.encode("iso8859-15")) == DecodedOne(text=text.encode(), encoding="ISO-8859-15")
    xml = "<?xml version='1.0' encoding=\"windows-1250\"?><a>Łódź</a>"
    assert decode_one(xml.encode("cp1250")).text.decode() == xml


def test_a_declaration_that_is_wrong_or_unknown_is_passed_over() -> None:
    for claim in ("utf-8", "shift_jis", "rot13", "no-such-encoding"):
        text = f"# coding: {claim}\n" + FRENCH
        assert decode_one(text.encode("latin-1")).text.decode() == text


def test_latin_1_with_windows_quotes_is_windows_1252() -> None:
    text = "# coding: latin-1\n# it’s a “test” of naïve things\n"
    assert decode_one(text.encode("cp1252")) == DecodedOne(text=text.encode(), encoding="WINDOWS-1252")


def test_nul_is_binary_unless_everything_speaks_for_utf16() -> None:
    text = "Option Explicit\r\n' für alle Fälle\r\nDim x\r\n"
    for encoding in ("UTF-16LE", "UTF-16BE"):
        assert decode_one(text.encode(encoding)) == DecodedOne(text=text.encode(), encoding=encoding)
    refused = (b"int x;\0int y;\n", b"\0" * 64, b"\1\0\2\0\3\0\4\0\5\0", b"a\0", text.encode("UTF-16LE") + b"\0")
    for content in refused:
        assert decode_one(content).reason == "error.binary"
    assert decode_one(b"abc\0def").detail == "a NUL byte at offset 3"


def test_what_only_looks_like_a_byte_order_mark() -> None:
    assert decode_one(codecs.BOM_UTF16_LE + b"\x00\xd8a\x00").reason == "error.binary"
    assert decode_one(codecs.BOM_UTF16_LE + b"abc").reason == "error.decode"
    assert decode_one(codecs.BOM_UTF8 + b"caf\xe9").detail == "has the byte order mark of UTF-8 but is not valid UTF-8"


def test_broken_utf8_is_not_read_as_western_letters() -> None:
    content = (RUSSIAN * 3).encode()
    for broken in (content + b"\xd0", content[:50] + b"\xff" + content[50:], content + b"\xed\xa0\x80"):
        one = decode_one(broken)
        assert one.reason == "error.decode"
        assert "UTF-8 with" in (one.detail or "")


def test_bytes_without_nul_that_are_no_text() -> None:
    noise = np.random.default_rng(1).integers(1, 256, 5000, dtype=np.uint8).tobytes()
    assert decode_one(noise).reason == "error.binary"
    assert decode_one(b"\xed\xa0\x80\xed\xb0\x80").encoding != "UTF-8"


def test_an_empty_file_is_text() -> None:
    assert decode_one(b"") == DecodedOne(text=b"", encoding="UTF-8")
    assert decode_one(codecs.BOM_UTF8) == DecodedOne(text=b"", encoding="UTF-8")


def test_control_characters_in_utf8_do_not_matter() -> None:
    content = b"\x1b[31mred\x1b[0m\x01\x02\x0c\n"
    assert decode_one(content) == DecodedOne(text=content, encoding="UTF-8")


def test_plain_utf8_is_not_copied() -> None:
    contents = batch(b"a", "é".encode(), b"", b"print()\n")
    decoded = decode(contents)
    assert decoded.texts.buffers()[2].address == contents.buffers()[2].address
    assert decoded.encodings.to_pylist() == ["UTF-8"] * 4
    small = pa.array([b"a", b"b"], pa.binary())
    assert decode(small).texts.buffers()[2].address == small.buffers()[2].address


def test_a_character_cut_between_two_contents_is_not_valid() -> None:
    assert odd_rows(batch(b"x\xc3", b"\xa9y")).tolist() == [0, 1]


def test_slices_and_empty_batches() -> None:
    contents = batch(b"\0", b"plain", codecs.BOM_UTF8 + b"a", b"", b"\xff\xfea\0", b"\0\0")
    decoded = decode(contents.slice(1, 4))
    assert decoded.texts.to_pylist() == [b"plain", b"a", b"", b"a"]
    assert decoded.encodings.to_pylist() == ["UTF-8", "UTF-8", "UTF-8", "UTF-16LE"]
    assert [len(column) for column in (decode(batch()).texts, decode(batch()).reasons)] == [0, 0]
    assert decode(batch(b"", b"")).texts.to_pylist() == [b"", b""]


def test_a_null_content_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="1 of 2 contents are null"):
        decode(pa.array([b"a", None], pa.large_binary()))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (GERMAN.encode("cp1252") * 50_000, "WINDOWS-1252"),
        (b"x" * 10_000_000 + b" gr\xf6\xdfer als f\xfcnf", "ISO-8859-1"),
        (b"x\n" * 5_000_000 + b"gr\xf6\xdfer als f\xfcnf\n", "ISO-8859-1"),
        ((JAPANESE * 60_000).encode("cp932"), "SHIFT_JIS"),
        (b"\xff\xfe" + b"a\0" * 5_000_000 + b"\0\xd8", None),
    ],
    ids=["latin", "one line", "late", "japanese", "utf-16"],
)
def test_ten_megabytes_cost_the_detector_no_more_than_a_sample(
    content: bytes, encoding: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    real = chardet.detect_all

    def detect_all(sample: bytes, **options: Any) -> Any:
        shown.append(len(sample))
        return real(sample, **options)

    monkeypatch.setattr(chardet, "detect_all", detect_all)
    # A search that is quadratic in the length of a line would never end here.
    assert decode_one(content).encoding == encoding
    assert all(size <= SAMPLE_BYTES for size in shown)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("big5", "BIG5"),
        ("cp949", "UHC"),
        ("euc_jp", "EUC-JP"),
        ("gb18030", "GB18030"),
        ("gb2312", "GB18030"),
        ("gbk", "GB18030"),
        ("shift_jis", "SHIFT_JIS"),
    ],
)
def test_texts_that_others_wrote(name: str, encoding: str) -> None:
    folder = Path(codecs.__file__).parent / "test" / "cjkencodings"
    if not folder.is_dir():
        pytest.skip("This Python comes without its own tests.")
    text = (folder / f"{name}-utf8.txt").read_bytes()
    assert decode_one((folder / f"{name}.txt").read_bytes()) == DecodedOne(text=text, encoding=encoding)
