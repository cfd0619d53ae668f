"""Values are put together here so that no line of this file looks like a secret itself."""

import base64
import random
import string

import pyarrow as pa
import pytest

from starsmith.curate.findings import Span, resolve
from starsmith.curate.secret_context import looks_like_key, looks_like_password, role
from starsmith.curate.secret_formats import crc_base62, has_checksum, named_formats, token_formats
from starsmith.curate.secrets import find_secrets

RNG = random.Random(7)
BASE62 = string.ascii_letters + string.digits
HEX32 = "3f9a1c07d2b84e6590ab7de81f2c3d45"
RANDOM40 = "q8ZrT2vLw0XhY6nB4mJcE9uKsA1dFgPo3iVtR7xC"


def found(text: str | bytes, *, keys: bool = True, passwords: bool = True) -> list[tuple[str, str]]:
    """Return (kind, value) of what is found in one text."""
    content = text.encode() if isinstance(text, str) else text
    spans = find_secrets(pa.array([content], pa.large_binary()), keys=keys, passwords=passwords)
    return [(span.kind, content[span.start : span.end].decode()) for span in resolve(spans).spans()]


def github_token() -> str:
    body = "".join(RNG.choices(BASE62, k=30))
    return "ghp_" + body + crc_base62(body.encode()).decode()


def test_there_are_more_than_two_hundred_formats():
    assert len({(f.provider, f.prefix, f.pattern.pattern) for f in token_formats()}) > 200
    assert len({f.provider for f in token_formats()} | {f.provider for f in named_formats()}) > 200


@pytest.mark.parametrize("token_format", token_formats(), ids=lambda f: f"{f.provider}-{f.prefix.decode()}")
def test_least_length_is_no_longer_than_what_the_pattern_can_match(token_format):
    width = _least_width(token_format.pattern.pattern)
    assert len(token_format.prefix) >= 2
    assert token_format.least <= width


def _least_width(pattern: bytes) -> int:
    import re._parser as parser  # the only place that knows

    return parser.parse(pattern).getwidth()[0]


def test_token_with_its_checksum_is_found_anywhere():
    token = github_token()
    assert found(f"see {token}, then") == [("token:github", token)]
    assert found(f"https://{token}@host/x.git") == [("token:github", token)]
    assert has_checksum(b"ghp_", token[4:].encode())


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + "x" * 36,
        "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "not" + "AKIA" + "Q3EGMB5TTZKQ2ABC",
        "AKIA" + "Q3EGMB5TTZKQ2ABCZZ",
        "sk_live_" + "your_key_here_please_xxx",
    ],
)
def test_examples_and_longer_words_are_no_tokens(text):
    assert found(f'key_of = "{text}"') == []


def test_token_inside_encoded_data_is_chance():
    blob = base64.b64encode(bytes(range(200))).decode().replace("=", "")
    assert found(f'image = "{blob[:120]}/AKIA{"Q3EGMB5TTZKQ2ABC"}/{blob[:30]}"') == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('API_KEY = "{}"', RANDOM40),
        ("  client_secret: {}", RANDOM40),
        ('"apiKey": "{}",', HEX32),
        ('const auth_token: string = "{}";', RANDOM40),
        ('let token: &str = "{}";', RANDOM40),
        ('<add key="ApiKey" value="{}" />', HEX32),
        ('setenv("SECRET_KEY", "{}")', RANDOM40),
        ("curl -H 'Authorization: Bearer {}'", RANDOM40),
        ("https://host/x?access_token={}&y=1", RANDOM40),
        ('{{\\"api_key\\": \\"{}\\"}}', RANDOM40),
    ],
)
def test_keys_by_name(line, value):
    assert found(line.format(value)) == [("key", value)]


def test_key_of_a_named_provider():
    uuid = "3f9a1c07-d2b8-4e65-90ab-7de81f2c3d45"
    assert found(f'HEROKU_API_KEY = "{uuid}"') == [("token:heroku", uuid)]
    assert found(f'REQUEST_TOKEN = "{uuid}"') == []
    assert found(f"aws_secret_access_key = {RANDOM40[:38]}/+")[0][0] == "token:aws"


@pytest.mark.parametrize(
    "line",
    [
        f'cache_key = "{HEX32}"',
        f'public_key = "{RANDOM40}"',
        f'token_hash = "{HEX32}"',
        f'sha256 = "{HEX32}{HEX32}"',
        f'"integrity": "sha512-{RANDOM40}{RANDOM40}=="',
        'secret_name = "prod/database/credentials-v2"',
        'api_key = "my-service-token-v2-primary"',
        'api_key = os.environ["API_KEY_2_FOR_PRODUCTION"]',
        'token = "handleUserLogin2Factor"',
        '"AWS::IAM::AccessKey": "62d91b17309e76c8"',
        'secret = "{{ vault.secret_key_base_64 }}"',
        'apiKey: "0123456789abcdef0123456789abcdef"',
        f"token: {HEX32}  # sha256 of the archive",
        'primary_key = "user_account_id_2_reference"',
    ],
)
def test_names_and_hashes_are_no_keys(line):
    assert found(line) == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('password = "{}"', "Tr0ub4dor&3"),
        ("DB_PASSWORD={}", "hunter2x"),
        ("  password: {}", "s3cr3t!pw"),
        ('"pwd": "{}"', "kl9-Xo2pq"),
        ("postgres://app:{}@db:5432/x", "letmein77"),
        ('"Server=db;User Id=sa;Password={};"', "Str0ngOne"),
        ("mysqldump --password={} shop", "river1108"),
        ("mysql -u root -p{} shop", "river1108"),
        ("curl -u admin:{} https://host/", "river1108"),
        ("CREATE USER a IDENTIFIED BY '{}';", "river1108"),
        ("sshpass -p '{}' ssh host", "river1108"),
        ("machine host login me password {}", "river1108"),
        ("<password>{}</password>", "river1108"),
        ('ds.setPassword("{}");', "river1108"),
        ('auth=("svc", "{}")', "river1108"),
        ("requirepass {}", "f00bared99"),
        ("PASS=${{DB_PASS:-{}}}", "river1108"),
        ('password := "{}"', "river1108"),
        ('if (pwd === "{}") {{', "river1108"),
    ],
)
def test_passwords_by_context(line, value):
    assert found(line.format(value)) == [("password", value)]


@pytest.mark.parametrize(
    "line",
    [
        'password = input("Password: ")',
        'password = ""',
        'password = "password"',
        'password = "changeme"',
        'password = "<your password>"',
        'password = "${DB_PASSWORD}"',
        "password: string;",
        "    password=password1,",
        "password = hash2",
        "pass  # nothing 123",
        "'password' => 'required|min:8|confirmed',",
        '<input type="password" id="new-password2">',
        'label = {"password": "Password (min. 8)"}',
        'fields = ["username", "password", "email2"]',
        "https://host:8080/user@2",
        "https://user:password@host/",
        "https://user:${PASS}@host/",
        'password_hash = "$2b$12$abcdefghijk"',
        'compass = "north-42e!"',
        "passwords: [a1, b2]",
    ],
)
def test_code_about_passwords_holds_none(line):
    assert found(line) == []


def pem(label: str = "RSA PRIVATE KEY", lines: int = 6) -> str:
    body = base64.b64encode(random.Random(lines).randbytes(48 * lines)).decode()
    rows = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *rows, f"-----END {label}-----"])


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_private_key_is_found_whole(label):
    key = pem(label)
    assert found(f"x = '''\n{key}\n'''\n") == [("private_key", key)]


def test_private_key_in_one_string_cut_off_and_indented():
    key = pem()
    in_string = key.replace("\n", "\\n")
    assert found(f'KEY = "{in_string}"') == [("private_key", in_string)]
    indented = key.replace("\n", "\n    ")
    assert found(f"key: |\n    {indented}\n") == [("private_key", indented)]
    cut_off = key.rpartition("\n")[0]
    assert found(cut_off + "\n\nrest") == [("private_key", cut_off)]


def test_what_is_not_private_stays():
    for label in ("CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST"):
        assert found(pem(label)) == []
    assert found("-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----") == []
    assert found('if "-----BEGIN PRIVATE KEY-----" in text:') == []


def test_two_private_keys_are_two():
    first, second = pem(lines=3), pem(lines=4)
    assert found(f"{first}\n{second}\n") == [("private_key", first), ("private_key", second)]


def test_long_lines_count_for_formats_only():
    filler = "a.b(c);" * 400
    token = github_token()
    assert found(f'{filler}password="river1108";t="{token}";{filler}') == [("token:github", token)]


def test_either_sort_can_be_left_out():
    text = f'password = "river1108"\nAPI_KEY = "{RANDOM40}"\n'
    assert [kind for kind, _ in found(text, keys=False)] == ["password"]
    assert [kind for kind, _ in found(text, passwords=False)] == ["key"]


def test_positions_are_of_the_text_whatever_stands_before_it():
    text = b'\xc3\xa9 password = "river1108"'
    texts = pa.array([b"password = ", text, b"", text], pa.large_binary())
    assert find_secrets(texts.slice(1), keys=True, passwords=True) == [
        Span(row, "password", text.index(b"river"), len(text) - 1) for row in (0, 2)
    ]


def test_names():
    assert [role(name) for name in ("dbPassword", "user.pwd", "MYSQL_ROOT_PASSWORD", "pgpassword")] == ["password"] * 4
    assert [role(name) for name in ("X-API-Key", "clientSecret", "GITHUB_TOKEN", "stripe_key")] == ["key"] * 4
    assert [role(n) for n in ("key", "monkey", "author", "next_token", "passwordField", "token_type", "bypass")] == [
        ""
    ] * 7


def test_looks():
    assert looks_like_key(RANDOM40, "")
    assert not looks_like_key("0" * 32, "")
    assert not looks_like_password("short"[:4])
    assert not looks_like_password("x" * 5 + "1" * 90)


@pytest.mark.parametrize("mark", ["&", "%", "!", "1&", "-&", "^"])
def test_long_words_that_nearly_are_one_take_linear_time(mark):
    """Without it these would not end within a lifetime."""
    for letters in ("a" * 32, "abcdefghij" * 3, "aB" * 15, "a-b" * 10):
        for line in ('password = "{}"', "PASSWORD={}\n", "db_password: {}", 'api_key = "{}"'):
            found(line.format(letters + mark + letters))
