"""What makes a value a secret where no issuer's format does: the name it is given, how it is given, how it looks.

Section 5 of the paper's data description counts passwords and keys among what is redacted; its production rules were a
model and a gibberish test. Here a name must say "password" or "key", and the value must not read like a word, a
placeholder, a path or a hash. Every test is on a few hundred characters at most. Where in a text to look is the
business of `secret_gate`. Passwords of letters only count in few places: `password = "message"` is text of a program
far more often.
"""

import math
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from starsmith.curate.secret_formats import named_formats, token_formats

Role = Literal["password", "key", ""]

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_PASSWORD_HEADS: Final = frozenset(
    "password passwd passphrase passcode pwd pass pswd psw passwort kennwort senha contrasena parola "
    "requirepass masterauth passwords userpass dbpass rootpass".split()
)
_PASSWORD_ENDINGS: Final = ("password", "passwd", "passphrase", "passwort", "pwd")
_SECRET_HEADS: Final = frozenset(
    "secret secrets token tokens credential credentials auth bearer apikey apikeys secretkey accesskey authkey "
    "authtoken privatekey clientsecret appsecret sharedsecret accesstoken apitoken apisecret masterkey appkey "
    "encryptionkey secrettoken refreshtoken passkey accountkey sharedaccesskey".split()
)
_KEY_QUALIFIERS: Final = frozenset(
    "api secret access private auth authentication authorization encryption encrypt crypto cipher signing sign master "
    "service account app application client consumer shared storage aes hmac jwt session cookie webhook admin write "
    "server deploy deployment subscription licence license token developer dev user root security maps map activation "
    "host merchant integration ingest ingestion database db backup fernet sas bot bearer rest push fcm gcm x prod "
    "production staging live".split()
)
_NOT_SECRET_BEFORE_TOKEN: Final = frozenset(
    "next page continuation pad eos bos unk mask cls sep sync cancellation cancel csrf xsrf last first end start stop "
    "special public image prev previous antiforgery sub lex resume design starting change unit".split()
)
_TRAILING: Final = frozenset(
    "prod production dev development staging stage test testing live old new value val string str text plain default "
    "env equals eq raw var const ro rw current primary secondary b encoded main x".split()
)
_PUBLIC: Final = frozenset("public pub publishable foreign unique cache".split())

_PLACEHOLDER = re.compile(
    r"[<>{}]|\$[({A-Za-z_]|(?<![A-Za-z0-9%])%[sd](?![A-Za-z0-9])|%\(|"
    r"%[A-Za-z_]+%|\*{3}|\.{3}|[xX]{4,}|#\{|@@|\[[A-Za-z_ ]+\]|"
    r"your|example|sample|placeholder|change[-_ ]?(?:me|this|it)|replace[-_ ]?|insert[-_]|dummy|redacted|"
    r"enter[-_ ]|todo|undefined|not[-_]?set|fake|mock|lorem|default|goes[-_]?here|"
    r"^(?:none|null|nil|true|false|string|password|passwd|pass|pwd|secret|token|key|user|username|admin_password)\d?$|"
    r"^my[-_]?(?:super[-_]?)?(?:secret|password|pass|token|key|api|auth)[-_a-z]*\d?$",
    re.IGNORECASE,
)
_STOP_STEMS: Final = frozenset(
    "password passwd passphrase pwd pass token key secret field input sha md utf base latin oauth pbkdf aes scrypt "
    "bcrypt argon http https auth hs rs es ps user username name value param arg var str col row item version ver "
    "python py test_password newpassword oldpassword confirmpassword repeatpassword level step section option type "
    "text string label id column page line rsa des ecdsa curve x y p q uint int float".split()
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_KEY_SHAPE = re.compile(r"[A-Za-z0-9+/_.=~-]{16,300}")
_HEX = re.compile(r"(?:[0-9a-f]+|[0-9A-F]+)")
_PIECES = re.compile(r"[-_./=+~:]+")
_WORD_PIECE = re.compile(r"[A-Za-z]+[0-9]{0,3}|[0-9]{1,4}")
_HASH_WORDS = re.compile(
    r"sha-?\d|sha[-_ ]?(?:sum|hash)|\bsha\b|md5|md4|ripemd|blake|integrity|hash|checksum|digest|finger|etag|commit|"
    r"revision|uuid|guid|crc|blob|\bsri\b|\bssri\b",
    re.IGNORECASE,
)
_HASH_LENGTHS: Final = frozenset({32, 40, 48, 56, 64, 96, 128})
_INNER_MARKS: Final = frozenset("@!#$%^&*+~?")
_CODE_MARKS = re.compile(r"://|[()\[\]\\`]|^~?/|^\.|[|,;]|->|=>|\bself\.|==|&&|^-|^:|:$|^#?[A-Za-z_.]+=")
_DIGIT_INSIDE = re.compile(r"[A-Za-z][0-9]+[A-Za-z]{2}")
_WORDY = re.compile(r"[A-Za-z]+(?:[-_.][A-Za-z]+)*")

LEAST_PASSWORD: Final = 5
MOST_PASSWORD: Final = 72
LEAST_TRANSITIONS: Final = 0.2
"""Changes between lower case, upper case and digits per character, a capital at the start of a word not counted: a
random key of base 62 has 0.42, one of base 36 or 16 has 0.4 to 0.47, `handleUserLogin2Factor` has 0.18."""
LEAST_HEX_ENTROPY: Final = 2.8
LEAST_ENTROPY: Final = 3.2
"""Bits per character. Sixteen random hexadecimal digits have 3.1 on average, sixteen of base 36 or 62 have 3.6."""


class Assignment(NamedTuple):
    """A value with the name it is given and the rest of its line; all parts decoded byte for byte (Latin-1)."""

    name: str
    value: str
    operator: str
    quote: str
    before: str
    after: str


@lru_cache(maxsize=4096)
def role(name: str) -> Role:
    """Return what a name says its value is.

    >>> [role(name) for name in ("db_password", "apiKey", "primary_key", "password_hash", "pad_token")]
    ['password', 'key', '', '', '']
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and (words[-1] in _TRAILING or words[-1].isdigit()):
        words.pop()
    if not words:
        return ""
    head, before = words[-1], words[-2] if len(words) > 1 else ""
    if head in _PASSWORD_HEADS or head.endswith(_PASSWORD_ENDINGS):
        return "password"
    if before in _PUBLIC or _PUBLIC & set(words[-3:-1]):
        return ""
    if head in {"key", "keys"}:
        return "key" if before in _KEY_QUALIFIERS or _is_provider(before) else ""
    if head in {"token", "tokens"} and before in _NOT_SECRET_BEFORE_TOKEN:
        return ""
    if head in _SECRET_HEADS or head.endswith(("apikey", "secretkey", "accesskey", "authtoken", "accesstoken")):
        return "key"
    return ""


@lru_cache(maxsize=1)
def _provider_words() -> frozenset[str]:
    return frozenset([f.provider.partition("-")[0] for f in token_formats()] + [f.word for f in named_formats()])


def _is_provider(word: str) -> bool:
    return len(word) > 2 and word in _provider_words()


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret to be filled in, or is a template, or made by running over the keyboard."""
    if _PLACEHOLDER.search(value):
        return True
    return len(set(value)) <= max(2, len(value) // 8) or _is_sequence(value)


def _is_sequence(value: str) -> bool:
    """Whether most characters follow the one before in the alphabet or the digits, or all repeat a short pattern."""
    if len(value) < 8:
        return False
    steps = sum(abs(ord(b) - ord(a)) == 1 for a, b in pairwise(value))
    if steps >= len(value) // 2 and steps > 8:
        return True
    return any(value == (value[:n] * (len(value) // n + 1))[: len(value)] for n in range(1, min(9, len(value) // 2)))


def entropy(value: str) -> float:
    """Return the Shannon entropy of the characters of `value`, in bits per character.

    >>> entropy("abab")
    1.0
    """
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _class_of(character: str) -> int:
    return 0 if character.islower() else 1 if character.isupper() else 2 if character.isdigit() else 3


def transitions(value: str) -> float:
    """Return how often the kind of character changes, per character; from a capital to a small letter is no change."""
    kinds = [_class_of(character) for character in value]
    changes = sum(a != b and not (a == 1 and b == 0) for a, b in pairwise(kinds))
    return changes / len(value)


def looks_like_key(value: str, line: str) -> bool:
    """Whether a value that is named a key looks random; `line` is the rest of its line.

    >>> looks_like_key("q8ZrT2vLw0XhY6nB4mJc", ""), looks_like_key("my-service-token-v2", "")
    (True, False)
    """
    if not _KEY_SHAPE.fullmatch(value) or _UUID.fullmatch(value) or is_placeholder(value):
        return False
    digits = sum(character.isdigit() for character in value)
    if digits == 0 or digits == len(value) or value.count(".") > 3:
        return False
    if _HEX.fullmatch(value):
        return entropy(value) >= LEAST_HEX_ENTROPY and not (len(value) in _HASH_LENGTHS and _HASH_WORDS.search(line))
    pieces = [piece for piece in _PIECES.split(value) if piece]
    if all(_WORD_PIECE.fullmatch(piece) for piece in pieces) or value.startswith(("/", "./", "../")):
        return False
    longest = max(pieces, key=len)
    if len(longest) < 10 or transitions(longest) < LEAST_TRANSITIONS:
        return False
    if _HASH_WORDS.search(line[-60:]) and re.search(r"sha\d+-|integrity", line[-60:], re.IGNORECASE):
        return False
    return entropy(value) >= LEAST_ENTROPY


def looks_like_password(value: str, *, certain: bool = False) -> bool:
    """Whether a value that is named a password is one; `certain` where the syntax leaves little doubt, as in a URL.

    >>> [looks_like_password(value) for value in ("hunter2", "Tr0ub4dor&3", "password_field", "${PASSWORD}")]
    [True, True, False, False]
    """
    least = LEAST_PASSWORD - certain
    if not least <= len(value) <= MOST_PASSWORD or not value.isascii() or not value.isprintable() or " " in value:
        return False
    if is_placeholder(value) and not (value.isdigit() and len(set(value)) > 2):
        return False
    if certain:
        return not re.fullmatch(r"[$%@:].*|\w+\(.*", value)
    if _UUID.fullmatch(value) or _CODE_MARKS.search(value):
        return False
    return _has_the_mix_of_a_password(value)


def _has_the_mix_of_a_password(value: str) -> bool:
    letters = sum(character.isalpha() for character in value)
    digits = sum(character.isdigit() for character in value)
    marks = [c for c in value if not c.isalnum() and c not in "-_."]
    if digits == len(value):
        return digits >= 6
    if letters == 0:
        return False
    if not marks:
        return _has_digits_like_a_password(value) if digits else _mixes_case(value)
    core = value.strip("!@#$%^&*+~?=/:'\"-_.")
    if digits == 0 and (_WORDY.fullmatch(core) is not None):
        return len(value) - len(core) > 1 and value[0].isalnum()
    return digits > 0 or any(mark in _INNER_MARKS for mark in marks)


def _has_digits_like_a_password(value: str) -> bool:
    pieces = [piece for piece in _PIECES.split(value) if piece]
    if len(pieces) > 1:
        mixed = [piece for piece in pieces if not piece.isalpha() and not piece.isdigit()]
        return any(
            (len(p) >= 6 and p.rstrip("0123456789").lower() not in _STOP_STEMS) or _DIGIT_INSIDE.search(p)
            for p in mixed
        )
    stem = value.rstrip("0123456789")
    return not (stem.lower() in _STOP_STEMS and len(value) - len(stem) <= 3) and not re.fullmatch(
        r"[vV]?[0-9]+[a-z]?|0x[0-9a-fA-F]+", value
    )


def _mixes_case(value: str) -> bool:
    return value.isalpha() and len(value) >= 8 and transitions(value) >= LEAST_TRANSITIONS + 0.05
