"""Makes the truth set: texts with secrets and personal data in known places, and much that only looks like it.

Every text is a stretch of a real file (the Python standard library in one half, installed packages in the other) or a
short file of another language, with a few lines of `truth_snippets` between its own. The development half is what
rules may be tuned on; the held-out half has other files, other lines and other generators. Nothing here is real:
every value is drawn from a seeded generator.

    python benchmarks/truth_set.py development 3     # show three texts
"""

import base64
import random
import re
import string
import sys
import sysconfig
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from truth_snippets import (
    DEVELOPMENT_FOUND,
    DEVELOPMENT_NOTHING,
    HELD_OUT_FOUND,
    HELD_OUT_NOTHING,
    HOSTS,
)

from starsmith.curate.secret_formats import token_formats

HALVES = ("development", "held-out")
KINDS = ("email", "ip", "key", "password")
TEXTS = 800
SEED = 20240229

HOLE = re.compile(r"\[\[(?:(email|ip|key|password):|!)(\w+)\]\]")
HEX, LOWER, BASE62 = "0123456789abcdef", string.ascii_lowercase + string.digits, string.ascii_letters + string.digits
# A host's own addresses and keys are nobody's truth: such lines are left out of it.
UNKNOWN = re.compile(
    r"@[\w-]+\.|\d+\.\d+\.\d+\.\d+|-----BEGIN|[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:]+|://[^/\s]*:[^/\s]*@"
)
WORDS = (
    "river maple tiger orange stone cloud falcon summer pepper silver dragon coffee monkey window garden planet".split()
)


@dataclass(frozen=True)
class Example:
    """A text and the (kind, start, end) of all that must be found in it, in bytes."""

    text: bytes
    labels: tuple[tuple[str, int, int], ...]


def examples(half: str, *, texts: int = TEXTS, seed: int = SEED) -> list[Example]:
    """Return one half of the truth set; the same for the same arguments and host files."""
    rng = random.Random(f"{half} {seed}")
    hosts = _hosts(half)
    found = DEVELOPMENT_FOUND if half == "development" else HELD_OUT_FOUND
    nothing = DEVELOPMENT_NOTHING if half == "development" else HELD_OUT_NOTHING
    return [_example(half, rng, rng.choice(hosts), found, nothing) for _ in range(texts)]


def _hosts(half: str) -> list[str]:
    """Return real files, and templates of the other languages often enough to be every other text."""
    folder = Path(sysconfig.get_path("stdlib" if half == "development" else "purelib"))
    paths = [
        path
        for suffix in ("*.py", "*.js", "*.md", "*.rst", "*.c", "*.h", "*.pyx", "*.toml", "*.yaml", "*.css")
        for path in folder.rglob(suffix)
        if half == "held-out" or "site-packages" not in path.parts
    ]
    chosen = random.Random(half).sample(sorted(paths), min(200, len(paths)))
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in chosen]
    return [text for text in texts if text.strip()] + list(HOSTS.values()) * 16


def _example(half: str, rng: random.Random, host: str, found: tuple[str, ...], nothing: tuple[str, ...]) -> Example:
    lines = [line for line in host.splitlines() if not UNKNOWN.search(line)]
    first = rng.randrange(max(1, len(lines) - 60))
    lines = lines[first : first + rng.randint(10, 80)]
    for _ in range(rng.randint(1, 3)):
        lines.insert(rng.randint(0, len(lines)), rng.choice(found))
    for _ in range(rng.randint(0, 4)):
        lines.insert(rng.randint(0, len(lines)), rng.choice(nothing))
    return _filled("\n".join(lines) + "\n", half, rng)


def _filled(template: str, half: str, rng: random.Random) -> Example:
    out, labels, position = bytearray(), [], 0
    for hole in HOLE.finditer(template):
        out += template[position : hole.start()].encode()
        value = GENERATORS[hole[2]](rng, half).encode()
        if hole[1]:
            labels.append((hole[1], len(out), len(out) + len(value)))
        out += value
        position = hole.end()
    out += template[position:].encode()
    return Example(bytes(out), tuple(labels))


def _drawn(alphabet: str, length: int) -> Callable[[random.Random, str], str]:
    def draw(rng: random.Random, half: str) -> str:
        while True:
            value = "".join(rng.choices(alphabet, k=length))
            if any(c.isdigit() for c in value) and any(c.isalpha() for c in value):
                return value

    return draw


def _base64_of(count: int) -> Callable[[random.Random, str], str]:
    return lambda rng, half: base64.b64encode(rng.randbytes(count)).decode()


def _plain_email(rng: random.Random, half: str) -> str:
    name = rng.choice("anna ben carla david elena frank greta hugo ida jonas".split())
    last = rng.choice("keller martin novak rossi silva weber young".split())
    domain = rng.choice("nordwind bluefox acmeworks stadtwerk openlake".split())
    return f"{name}{rng.choice(['.', '', '_'])}{last}@{domain}.{rng.choice('com org net de io'.split())}"


def _odd_email(rng: random.Random, half: str) -> str:
    local = rng.choice(["k.o'", "", "x-"])[:0] + rng.choice(
        ["m{n}", "J.Doe-Smith", "ops+alerts{n}", "k_{n}", "Maria.T", "dev-team", "a.b.c", "QA{n}"]
    ).format(n=rng.randint(1, 99))
    domain = rng.choice(["mail.uni-{w}", "{w}-{n}", "{w}.co", "hq.{w}", "{w}{n}", "my{w}"]).format(
        w=rng.choice(WORDS), n=rng.randint(2, 9)
    )
    return f"{local}@{domain}.{rng.choice('dev ai co.jp com.br info eu ch co.uk edu tech gov'.split())}"


def _public_ipv4(rng: random.Random, half: str) -> str:
    first = rng.choice([5, 23, 31, 37, 46, 52, 54, 62, 78, 81, 88, 91, 104, 134, 141, 157, 178, 185, 193, 195, 212])
    return f"{first}.{rng.randint(32, 160)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def _public_ipv6(rng: random.Random, half: str) -> str:
    head = rng.choice(["2a01:4f8", "2a00:1450", "2607:f8b0", "2600:1f18", "2804:14c"])
    groups = [f"{rng.randint(0x10, 0xFFFF):x}" for _ in range(6)]
    return f"{head}:{groups[0]}::{groups[1]}" if rng.random() < 0.5 else f"{head}:{':'.join(groups)}"


def _version(rng: random.Random, half: str) -> str:
    return ".".join(str(rng.randint(1, 40)) for _ in range(4))


def _uuid(rng: random.Random, half: str) -> str:
    digits = "".join(rng.choices(HEX, k=32))
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def _format(rng: random.Random, half: str) -> str:
    """Draw a token from every other format of the package's own table: what is tested is all but the format."""
    token_format = rng.choice([f for f in token_formats()[::2] if f.prefix[-1:] not in b"=/" and f.least >= 16])
    body = token_format.pattern.pattern.decode().removeprefix("(?:").rpartition(")(?!")[0]
    while True:
        value = _from_pattern(rng, body)
        if len(set(value)) > 5 and any(c.isdigit() or c.isupper() for c in value):
            return token_format.prefix.decode() + value


def _from_pattern(rng: random.Random, pattern: str) -> str:
    """Draw a string that matches a pattern of classes, groups, alternatives and counted repeats."""
    alternatives, depth, part = [], 0, ""
    for character in re.findall(r"\\.|\[(?:\\.|[^\]])*\]|.", pattern):
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            alternatives.append(part)
            part = ""
        else:
            part += character
    rest, out = rng.choice([*alternatives, part]), ""
    while rest:
        item = re.match(r"\((?:\?:)?((?:[^()]|\[[^\]]*\])*)\)|\[((?:\\.|[^\]])*)\]|\\?(.)", rest)
        assert item
        rest = rest[item.end() :]
        repeat = re.match(r"\{(\d+)(?:,(\d+))?\}|\?", rest)
        low, high = 1, 1
        if repeat:
            rest = rest[repeat.end() :]
            low = int(repeat[1]) if repeat[1] else 0
            high = min(int(repeat[2]), low + 20) if repeat[2] else (low or 1)
        for _ in range(rng.randint(low, high)):
            if item[1] is not None:
                out += _from_pattern(rng, item[1])
            else:
                out += rng.choice(_members(item[2])) if item[2] is not None else item[3]
    return out


def _members(characters: str) -> str:
    spans = re.sub(r"(\w)-(\w)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), characters)
    return spans.replace("\\", "")


def _with_checksum(prefix: str, rng: random.Random) -> str:
    body = "".join(rng.choices(BASE62, k=30))
    digits, value = "", zlib.crc32(body.encode())
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = (string.digits + string.ascii_uppercase + string.ascii_lowercase)[digit] + digits
    return prefix + body + digits


def _known_token(rng: random.Random, half: str) -> str:
    """Draw a token of well-known issuers, each written out here from what the issuer says, apart from the table."""

    def some(alphabet: str, length: int) -> str:
        return "".join(rng.choices(alphabet, k=length))

    urlsafe = BASE62 + "-_"
    makers: list[Callable[[], str]] = [
        lambda: _with_checksum(rng.choice(["ghp_", "gho_", "ghs_", "npm_"]), rng),
        lambda: f"github_pat_{some(BASE62, 22)}_{some(BASE62, 59)}",
        lambda: "glpat-" + some(urlsafe, 20),
        lambda: "AKIA" + some(string.ascii_uppercase + "234567", 16),
        lambda: "AIza" + some(urlsafe, 35),
        lambda: f"xoxb-{some(string.digits, 12)}-{some(string.digits, 13)}-{some(BASE62, 24)}",
        lambda: "sk_live_" + some(BASE62, 24),
        lambda: f"sk-proj-{some(urlsafe, 74)}T3BlbkFJ{some(urlsafe, 74)}",
        lambda: f"sk-ant-api03-{some(urlsafe, 93)}AA",
        lambda: "hf_" + some(string.ascii_letters, 34),
        lambda: f"SG.{some(urlsafe, 22)}.{some(urlsafe, 43)}",
        lambda: "dop_v1_" + some(HEX, 64),
        lambda: "shpat_" + some(HEX, 32),
        lambda: "pypi-AgEIcHlwaS5vcmc" + some(urlsafe, 140),
        lambda: "dapi" + some(HEX, 32),
        lambda: "hvs." + some(urlsafe, 90),
        lambda: f"{_segment(rng, 27)}.{_segment(rng, 60)}.{some(urlsafe, 43)}",
        lambda: "ya29." + some(urlsafe, 120),
        lambda: "GOCSPX-" + some(urlsafe, 28),
    ]
    return rng.choice(makers)()


def _slack_path(rng: random.Random, half: str) -> str:
    upper = string.ascii_uppercase + string.digits
    team, channel = "".join(rng.choices(upper, k=8)), "".join(rng.choices(upper, k=10))
    return f"T{team}/B{channel}/{''.join(rng.choices(BASE62, k=24))}"


def _segment(rng: random.Random, length: int) -> str:
    return base64.urlsafe_b64encode(b'{"' + bytes(rng.choices(b"abcdefgh:,", k=length))).decode().rstrip("=")


def _pem(label: str, start: str) -> Callable[[random.Random, str], str]:
    def make(rng: random.Random, half: str) -> str:
        body = start + base64.b64encode(rng.randbytes(rng.choice([120, 600, 1190]))).decode()
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"])

    return make


def _leet(rng: random.Random, half: str) -> str:
    word = rng.choice(WORDS).translate(str.maketrans("aeo", "430"))
    return word.capitalize() + rng.choice(["!", "#1", "$$", "@7"]) + str(rng.randint(1, 999))


def _random_marks(rng: random.Random, half: str) -> str:
    return "".join(rng.choices(BASE62 + "!#%*+?^~", k=rng.randint(9, 15))) + str(rng.randint(0, 9))


def _season(rng: random.Random, half: str) -> str:
    name = rng.choice("Winter Spring Autumn Berlin Qwerty Letmein Welcome Company".split())
    return name + str(rng.randint(1990, 2030)) + rng.choice(["!", "", "*", "!!", "@"])


def _phrase(rng: random.Random, half: str) -> str:
    first, second = rng.sample(WORDS, 2)
    return rng.choice(["{}-{}-{}x", "{}{}{}!", "{}_{}{}#", "{}.{}.{}$"]).format(
        first, second.capitalize(), rng.randint(10, 99)
    )


def _word_digits(rng: random.Random, half: str) -> str:
    return rng.choice(WORDS) + str(rng.randint(1, 9999))


def _letters(rng: random.Random, half: str) -> str:
    return rng.choice(WORDS) + rng.choice(WORDS)


GENERATORS: dict[str, Callable[[random.Random, str], str]] = {
    "plain_email": _plain_email,
    "odd_email": _odd_email,
    "public_ipv4": _public_ipv4,
    "public_ipv6": _public_ipv6,
    "octet": lambda rng, half: str(rng.randint(1, 254)),
    "version_4": _version,
    "uuid": _uuid,
    "base62_32": _drawn(BASE62, 32),
    "base62_36": _drawn(BASE62, 36),
    "base62_40": _drawn(BASE62, 40),
    "base62_48": _drawn(BASE62, 48),
    "base62_50": _drawn(BASE62, 50),
    "base62_53": _drawn(BASE62, 53),
    "lower_36": _drawn(LOWER, 36),
    "hex_7": _drawn(HEX, 7),
    "hex_32": _drawn(HEX, 32),
    "hex_40": _drawn(HEX, 40),
    "hex_64": _drawn(HEX, 64),
    "base64_44": _base64_of(32),
    "base64_64": _base64_of(48),
    "base64_88": _base64_of(64),
    "base64_400": _base64_of(300),
    "format": _format,
    "known_token": _known_token,
    "slack_path": _slack_path,
    "private_key": _pem("RSA PRIVATE KEY", "MIIEowIBAAKCAQEA"),
    "openssh_key": _pem("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAA"),
    "word_digits": _word_digits,
    "leet": _leet,
    "random_marks": _random_marks,
    "random_alnum": lambda rng, half: _drawn(BASE62, rng.randint(8, 14))(rng, half),
    "alnum_8_20": lambda rng, half: _drawn(LOWER + string.ascii_uppercase, rng.randint(8, 20))(rng, half),
    "season": _season,
    "phrase": _phrase,
    "letters": _letters,
    "digits": lambda rng, half: str(rng.randint(100000, 99999999)),
}


def main() -> int:
    half, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    for example in examples(half, texts=count):
        print(example.text.decode())
        for kind, start, end in example.labels:
            print(f"--> {kind}: {example.text[start:end].decode()[:60]}")
        print("=" * 80)
    return 0


if __name__ == "__main__":
    sys.exit(main())
