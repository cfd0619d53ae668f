"""What an address may say, and what the errors of a store are told as."""

import pytest

from starsmith.errors import StarsmithError
from starsmith.object_store import address_of, fault, is_uri
from starsmith.storage import Store


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/p", True),
        ("file:///p", True),
        ("S3://b", True),
        ("/s3://b", False),
        ("s3:/b", False),
        ("w", False),
        ("C:\\w", False),
    ],
)
def test_what_is_a_uri(text, expected):
    assert is_uri(text) is expected


def test_an_address_in_full():
    found = address_of(
        "s3://bucket/a/b", "endpoint_override=localhost:9000&scheme=http&region=eu-west-3&anonymous=true"
    )
    assert (found.bucket, found.prefix, found.key) == ("bucket", "a/b", "bucket/a/b")
    assert (found.endpoint, found.scheme, found.region, found.anonymous) == (
        "localhost:9000",
        "http",
        "eu-west-3",
        True,
    )
    assert found.server == "http://localhost:9000"


def test_what_the_address_does_not_say_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    found = address_of("s3://bucket/p", "")
    assert (found.endpoint, found.scheme, found.region) == ("one:1", "http", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://two")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    found = address_of("s3://bucket/p", "")
    assert (found.endpoint, found.scheme, found.region) == ("two", "https", "eu-north-1")
    found = address_of("s3://bucket/p", "endpoint_override=three&region=ap-south-1")
    assert (found.endpoint, found.scheme, found.region) == ("three", "https", "ap-south-1")


def test_a_whole_bucket_may_be_a_workspace():
    assert address_of("s3://bucket", "").key == "bucket"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gs://bucket/p", "is on gs; expected a path, file:///path or s3://bucket/prefix"),
        ("s3:///p", "is no address"),
        ("s3://b!/p", "is no address"),
        ("s3://bucket/a//b", "is no address"),
        ("s3://bucket/a/../b", "is no address"),
        ("s3://bucket/p?ssl=no", "has the parameter 'ssl'; expected one of endpoint_override, region"),
        ("s3://bucket/p?scheme=ftp", "scheme is 'ftp'; expected http or https"),
        ("s3://bucket/p?anonymous=1", "anonymous is '1'; expected true or false"),
        ("file://host/p", "expected file:///path"),
        ("file:p", None),
    ],
)
def test_an_address_that_is_none(uri, expected):
    if expected is None:
        assert Store.at(uri).is_local
        return
    with pytest.raises(StarsmithError, match=expected.replace("?", r"\?")):
        Store.at(uri)


SECRETS = ["wJalrXUtnFEMI", "hunter2"]


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKIAIOSFODNN7EXAMPLE:{SECRETS[0]}@bucket/p",
        f"s3://somebody:{SECRETS[1]}@bucket/p",
        f"s3://{SECRETS[1]}@bucket/p",
        f"s3://bucket/p?access_key=me&secret_key={SECRETS[0]}",
        f"s3://bucket/p?region=eu-west-3&session_token={SECRETS[0]}",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(uri):
    with pytest.raises(StarsmithError, match="AWS_ACCESS_KEY_ID") as caught:
        Store.at(uri)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_file_uri_is_a_path():
    assert Store.at("file:///corpora/my%20own").root == "/corpora/my own"
    assert Store.at("s3://bucket/p/?region=x").uri == "s3://bucket/p?region=x"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "For key 'p/a' in bucket 'bucket': AWS Error NETWORK_CONNECTION during HeadObject operation: no",
            "http://h:1, HeadObject of s3://bucket/p/a: NETWORK_CONNECTION, no. It was tried 8 times. Run the same",
        ),
        (
            "When uploading: AWS Error SLOW_DOWN during PutObject operation: Slow. (Request ID: 5)",
            "PutObject of s3://bucket/p: SLOW_DOWN, Slow. It was tried 8",
        ),
        ("AWS Error ACCESS_DENIED during X operation: no", "The credentials were refused. Set AWS_ACCESS_KEY_ID"),
        ("AWS Error UNKNOWN (HTTP status 403) during X operation: no", "The credentials were refused"),
        ("AWS Error NO_SUCH_BUCKET during X operation: no", "There is no bucket 'bucket' on http://h:1; make it first"),
        ("AWS Error REQUEST_TIME_TOO_SKEWED during X operation: no", "Set the clock"),
        ("AWS Error UNKNOWN (HTTP status 301) during X operation: no", "in another region than r: set AWS_REGION"),
    ],
)
def test_what_errors_are_told_as(said, expected):
    address = address_of("s3://bucket/p", "endpoint_override=h:1&scheme=http&region=r")
    assert expected in fault(OSError(said), address)


def test_other_errors_are_not_the_stores():
    assert fault(OSError("No space left on device"), address_of("s3://bucket/p", "")) is None
