"""The tokenizer: a folder that `transformers.AutoTokenizer` loads, and what the rest of Starsmith needs of it.

Byte-level BPE with the sentinels at ids 0 to 37 (sections 8.1 and 9 of the paper's data description). It is read from
`tokenizer.json` alone, so a public checkpoint's tokenizer can be used as it is, if it splits text by the same rule.
How one is trained stands in `tokenizer_training`; the library that wrote the file is not needed to use it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from starsmith.errors import StarsmithError
from starsmith.fingerprint import fingerprint
from starsmith.format.sentinels import SENTINELS, Segment
from starsmith.storage import Located, Store, located, to_json

if TYPE_CHECKING:
    from starsmith.format.encoder import Encoder

TOKENIZER_FILE: Final = "tokenizer.json"
CONFIG_FILE: Final = "tokenizer_config.json"
NAMES_FILE: Final = "special_tokens_map.json"
RECORD_FILE: Final = "training.json"
"""What a tokenizer was trained on; no part of what it does."""
_LARGEST_FILE: Final = 256 << 20
_FIXED: Final = 34
"""Sentinels that formatting writes; the last four stand for redacted text, and only take up their ids."""

PRE_TOKENIZER: Final = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    ],
}
"""Single digits, then GPT-2's rule."""


class Tokenizer:
    """A vocabulary with its merges. `files` are those of its folder, by name."""

    def __init__(self, files: Mapping[str, bytes], *, where: str = TOKENIZER_FILE) -> None:
        """Take the files of a folder.

        Raises StarsmithError for a tokenizer of another kind.
        """
        self.files = dict(files)
        model = _model(files[TOKENIZER_FILE], where)
        self.tokens, self.merges = model.tokens, model.merges

    @classmethod
    def open(cls, folder: Located | str) -> "Tokenizer":
        """Return the tokenizer in a folder, or in one on an object store.

        Raises StarsmithError if there is none.
        """
        place = located(folder) if isinstance(folder, str) else folder
        if not (place / TOKENIZER_FILE).is_file():
            raise StarsmithError(
                f"{place} holds no tokenizer: it has no {TOKENIZER_FILE}. Train one with `starsmith tokenizer train`."
            )
        names = [name for name in (TOKENIZER_FILE, CONFIG_FILE, NAMES_FILE, RECORD_FILE) if (place / name).is_file()]
        return cls({name: _read(place / name) for name in names}, where=str(place / TOKENIZER_FILE))

    def write(self, store: Store, folder: str = "") -> None:
        """Write the files below a folder of a store."""
        for name, data in sorted(self.files.items()):
            store.write(f"{folder}/{name}" if folder else name, data)
        if store.is_local and not folder:
            # Where files are written before they get their names. What somebody else has there stays.
            with suppress(OSError):
                Path(store.path("tmp")).rmdir()

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return len(self.tokens)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all that decides ids: equal ones encode alike, whatever wrote their files."""
        return fingerprint(["bpe", 1, list(self.tokens), [list(merge) for merge in self.merges]])

    @cached_property
    def token_bytes(self) -> npt.NDArray[np.int64]:
        """The bytes each id stands for; sentinels stand for none."""
        return np.array([len(token or b"") for token in self.tokens], np.int64)

    @cached_property
    def encoder(self) -> "Encoder":
        # Machine code takes a while to load, and whoever only decodes needs none.
        from starsmith.format.encoder import Encoder

        return Encoder(self.tokens, self.merges)

    @property
    def record(self) -> dict[str, Any]:
        """What is known of its training; nothing of one that was trained elsewhere."""
        known: dict[str, Any] = json.loads(self.files.get(RECORD_FILE, b"{}"))
        return known

    def encode(self, segments: Iterable[Segment] | str) -> list[int]:
        """Return the ids of segments, or of a plain text, in which nothing is a sentinel."""
        listed: list[Segment] = [segments] if isinstance(segments, str) else list(segments)
        ids: list[int] = self.encoder.encode(listed)[0].tolist()
        return ids

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        """Return what ids stand for, sentinels nothing: whole characters only where all of their ids are there."""
        return b"".join([self.tokens[number] or b"" for number in ids])

    def decode(self, ids: Sequence[int], *, sentinels: bool = True) -> str:
        """Return the text of ids; bytes that are no UTF-8 show as U+FFFD. Sentinels go by their names, or are left out.

        Raises StarsmithError for an id that is not in the vocabulary.
        """
        for number in ids:
            if not 0 <= number < len(self.tokens):
                raise StarsmithError(f"There is no token {number}: the vocabulary has {len(self.tokens):,}.")
        told = [self.tokens[number] if self.tokens[number] is not None else _name(number) for number in ids]
        data = b"".join([each or b"" for each in told]) if sentinels else self.bytes_of(ids)
        return data.decode("utf-8", errors="replace")


def _name(number: int) -> bytes:
    return SENTINELS[number].encode() if number < len(SENTINELS) else b""


def _read(file: Located) -> bytes:
    with file.open("rb") as opened:
        data: bytes = opened.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise StarsmithError(f"{file} has more than {_LARGEST_FILE >> 20} MiB; no tokenizer needs that.")
    return data


@dataclass(frozen=True, slots=True)
class _Model:
    tokens: tuple[bytes | None, ...]
    merges: tuple[tuple[int, int, int], ...]


def _model(data: bytes, where: str) -> _Model:
    try:
        plain = json.loads(data)
        _check_kind(plain, where)
        ids: dict[str, int] = plain["model"]["vocab"]
        added = {each["id"]: each["content"] for each in plain["added_tokens"]}
        merges = [each.split(" ") if isinstance(each, str) else each for each in plain["model"]["merges"]]
        return _checked(ids, added, merges, where)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StarsmithError(f"{where} is damaged or no tokenizer: {type(error).__name__}: {error}.") from error


def _check_kind(plain: Any, where: str) -> None:
    """Raise for a tokenizer that does anything to a text but split it by the rule and merge bytes."""
    found = plain["model"].get("type", "BPE"), plain.get("normalizer"), _rule(plain["pre_tokenizer"])
    if found != ("BPE", None, PRE_TOKENIZER):
        raise StarsmithError(
            f"{where} is a tokenizer of another kind: expected byte-level BPE without a normalizer that splits off "
            "single digits and then splits as GPT-2 does."
        )


def _rule(pre_tokenizer: Any) -> Any:
    """Return a pre-tokenizer without what changes no token."""
    if isinstance(pre_tokenizer, dict):
        return {key: _rule(value) for key, value in pre_tokenizer.items() if key != "trim_offsets"}
    return [_rule(each) for each in pre_tokenizer] if isinstance(pre_tokenizer, list) else pre_tokenizer


def _checked(ids: dict[str, int], added: dict[int, str], merges: Sequence[Sequence[str]], where: str) -> _Model:
    for number, name in enumerate(SENTINELS[:_FIXED]):
        if added.get(number) != name:
            raise StarsmithError(f"{where} has {added.get(number)!r} at id {number}; expected the sentinel {name}.")
    size = len(ids.keys() | added.values())
    if sorted({*ids.values(), *added}) != list(range(size)):
        raise StarsmithError(f"{where} is damaged: its ids are not the numbers from 0 to {size - 1:,}.")
    tokens: list[bytes | None] = [None] * size
    for text, number in ids.items():
        if number not in added:
            tokens[number] = bytes([_BYTES[character] for character in text])
    if missing := {bytes([byte]) for byte in range(256)} - set(tokens):
        raise StarsmithError(f"{where} has no token for the byte {min(missing)[0]}; expected one for each of the 256.")
    return _Model(tuple(tokens), tuple((ids[left], ids[right], ids[left + right]) for left, right in merges))


def _byte_characters() -> dict[str, int]:
    """Return the byte that each character of a vocabulary stands for, as GPT-2's files have it.

    Printable bytes stand for themselves, the others for the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES: Final = _byte_characters()


def config_files() -> dict[str, bytes]:
    """Return the files beside `tokenizer.json` that say which sentinel is which."""
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), SENTINELS[0])
    config = {
        **names,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": list(SENTINELS),
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "model_max_length": 10**30,
    }
    return {
        CONFIG_FILE: to_json(config),
        NAMES_FILE: to_json({**names, "additional_special_tokens": list(SENTINELS)}),
    }


def digest_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file of a tokenizer."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
