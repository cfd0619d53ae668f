"""Credentials in paths and URIs: found in every usual form, and not seen where there are none."""

import pytest

from starsmith.credentials import credential_in


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@example.org/x.git",
        "https://:hunter2@example.org/x.git",
        "HTTPS://me:hunter2@example.org",
        "https://x-access-token:abc@example.org/x",
        "https://sometoken@example.org/x.git",
        "https://me:hun/ter2@example.org/x",
        "ssh://git:hunter2@example.org/x",
        "s3://id:secret@bucket/corpus",
        "me:hunter2@example.org:x.git",
        "s3://bucket/x?X-Amz-Signature=0f",
        "s3://bucket/x?a=1&X-Amz-Credential=0f",
        "s3://bucket?access_key=A&secret_key=B",
        "https://example.org/x?private_token=abc",
        "https://example.org/x?sv=1&sig=abc",
        "https://example.org/x?AWSAccessKeyId=abc",
        "https://example.org/x?key=abc",
        "https://example.org/x#access_token=abc",
        "AccountName=a;AccountKey=b;",
        "s3://bucket/AKIA" + "ABCDEFGHIJKLMNOP",
        "/data/ghp_" + "a1" * 18,
        "/data/hf_" + "a1" * 17,
    ],
)
def test_credentials_are_found(text: str) -> None:
    kind = credential_in(text)
    assert kind is not None
    assert not any(secret in kind for secret in ("hunter2", "abc", "AKIA", "ghp_", "0f"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "/data/repositories",
        "~/code",
        "C:\\code@home",
        "ssh://git@example.org/x.git",
        "git@example.org:owner/x.git",
        "http://host:8080/a@b",
        "http://host:8080?q=a@b",
        "https://example.org/owner/tokenizer?ref=main",
        "s3://bucket/monkey=1/part",
        "data/key=5/part.parquet",
        "a token, a key",
        "HF_HOME",
    ],
)
def test_plain_paths_pass(text: str) -> None:
    assert credential_in(text) is None
