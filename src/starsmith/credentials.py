"""Credentials that slipped into a path or a URI, so that they reach no message, record or release.

A recipe is copied, published and quoted in bug reports; what it names must therefore open without a secret in it.
No section of the paper. This module does not search source code for secrets: that is a stage of curation.
"""

import re
from typing import Final

_IN_URI: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    # `ssh://git@host` names an account and stays; over http a lone user name is how tokens are passed.
    # A colon followed by digits and the next part of the URI is a port, so `http://host:8080/a@b` stays too.
    ("a password before the `@`", re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@:]*:(?!\d+[/?#])[^\s@]+@", re.IGNORECASE)),
    ("a user name or token before the `@`", re.compile(r"https?://[^\s/?#@]+@", re.IGNORECASE)),
    # Two letters at least: `C:\mail@home` is a drive, not an account.
    ("a password before the `@`", re.compile(r"^[^\s/@:\\]{2,}:[^\s/@]+@")),
)
_SECRET_NAME: Final = re.compile(
    r"token|signature|credential|secret|passw|api[_-]?key|(access|account)[_-]?key|^(sig|key|auth|pwd|pass|sas)$",
    re.IGNORECASE,
)
_PARAMETER: Final = re.compile(r"(?:^|[?&;#,\s])([\w.-]+)=[^&;\s]")

# Shapes published by the services that issue them; their letter case matters.
_TOKEN: Final = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}"
    r"|hf_[A-Za-z0-9]{30}|xox[abeoprs]-[A-Za-z0-9-]{10}|AIza[A-Za-z0-9_-]{35}|pypi-AgE[A-Za-z0-9_-]{16})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)


def credential_in(text: str) -> str | None:
    """Return what kind of credential a path or URI holds, in words without any of it, or None.

    >>> credential_in("https://me:hunter2@example.org/repository.git")
    'a password before the `@`'
    >>> credential_in("s3://bucket/corpus?X-Amz-Signature=0f3a")
    'a token, key or signature among its parameters'
    >>> credential_in("git@example.org:owner/name.git") is None
    True
    """
    if _TOKEN.search(text):
        return "an access key or token"
    if any(_SECRET_NAME.search(name) for name in _PARAMETER.findall(text)):
        return "a token, key or signature among its parameters"
    return next((kind for kind, pattern in _IN_URI if pattern.search(text)), None)
