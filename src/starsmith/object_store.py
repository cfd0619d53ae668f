"""Where an object store is, how it is reached, and what its errors mean to a user.

An address is an S3 URI, `s3://bucket/prefix`, with at most an endpoint, a region, a scheme and `anonymous` among its
parameters, spelt as pyarrow spells them. What the URI does not say comes from the environment and the configuration
files that every AWS tool reads; credentials come from there alone. A request that fails for a reason that may pass is
sent again by the SDK's standard strategy, a bounded number of times; what is left is told in words of this module.
"""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import fs

from starsmith.credentials import credential_in
from starsmith.errors import StarsmithError

ATTEMPTS: Final = 8
"""How often a request is sent before it has failed, unless AWS_MAX_ATTEMPTS says otherwise. The waits between them
double; with eight a server may be away for 40 to 70 seconds."""
CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 60.0
"""A transfer that moves less than a byte a second for this long has failed."""

_OPTIONS: Final = ("endpoint_override", "region", "scheme", "anonymous")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_AWS_ERROR: Final = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during (\w+) operation: (.*)", re.DOTALL)
_KEY: Final = re.compile(r"key '([^']*)' in bucket '([^']*)'")
_REQUEST_ID: Final = re.compile(r"\s*\(Request ID: [^)]*\)")

_REFUSED: Final = frozenset(
    "ACCESS_DENIED SIGNATURE_DOES_NOT_MATCH INVALID_ACCESS_KEY_ID INVALID_CLIENT_TOKEN_ID INVALID_SIGNATURE "
    "MISSING_AUTHENTICATION_TOKEN REQUEST_EXPIRED UNRECOGNIZED_CLIENT INCOMPLETE_SIGNATURE".split()
)


def is_uri(text: str) -> bool:
    """Return whether a workspace is named by a URI and not by a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A prefix in a bucket, and how it is reached. An empty endpoint is that of AWS; an empty region is looked up."""

    bucket: str
    prefix: str
    endpoint: str
    scheme: str
    region: str
    anonymous: bool

    @property
    def key(self) -> str:
        """The bucket and the prefix, as `pyarrow.fs` names an object."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def server(self) -> str:
        """The endpoint, for messages."""
        return f"{self.scheme}://{self.endpoint}" if self.endpoint else "S3"


def address_of(root: str, options: str) -> Address:
    """Return the address that a URI without its parameters, and its parameters, stand for.

    Raises StarsmithError for anything but an address, and for one that holds a credential.
    """
    if kind := credential_in(f"{root}?{options}"):
        raise StarsmithError(f"The address of the workspace holds {kind}. {_CREDENTIALS}")
    parts = urlsplit(root)
    if parts.scheme.lower() != "s3":
        raise StarsmithError(f"{root} is on {parts.scheme}; expected a path, file:///path or s3://bucket/prefix.")
    if "@" in parts.netloc:
        raise StarsmithError(f"The address of the workspace holds an account before the `@`. {_CREDENTIALS}")
    prefix = unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or parts.fragment or {"", ".", ".."} & set(prefix.split("/")) - {prefix}:
        raise StarsmithError(f"{root} is no address of a workspace; expected s3://bucket/prefix.")
    given = _options(root, options)
    endpoint, scheme = _endpoint(given)
    region = given.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return Address(
        bucket=parts.netloc,
        prefix=prefix,
        endpoint=endpoint,
        scheme=scheme,
        region=region,
        anonymous=given.get("anonymous", "false") == "true",
    )


_CREDENTIALS: Final = (
    "Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from AWS_PROFILE, or from the role of the "
    "machine; take them out of the address."
)


def _options(root: str, options: str) -> dict[str, str]:
    given = dict(parse_qsl(options, keep_blank_values=True))
    if unknown := sorted(given.keys() - set(_OPTIONS)):
        known = ", ".join(_OPTIONS)
        raise StarsmithError(f"The address {root} has the parameter {unknown[0]!r}; expected one of {known}.")
    for name, choices in (("scheme", ("http", "https")), ("anonymous", ("true", "false"))):
        if given.get(name, choices[0]) not in choices:
            raise StarsmithError(f"In the address {root}, {name} is {given[name]!r}; expected {' or '.join(choices)}.")
    return given


def _endpoint(given: dict[str, str]) -> tuple[str, str]:
    """Return host, with its port if it has one, and scheme; both may be given as one URL, as AWS tools do."""
    found = (
        given.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    if not found:
        return "", given.get("scheme", "https")
    scheme, mark, host = found.rpartition("://")
    return host.rstrip("/"), scheme if mark else given.get("scheme", "https")


@lru_cache(maxsize=16)
def filesystem(address: Address) -> fs.FileSystem:
    """Return the connection to an address, one in a process."""
    return fs.S3FileSystem(
        anonymous=address.anonymous,
        region=address.region or None,
        endpoint_override=address.endpoint or None,
        scheme=address.scheme,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts()),
        # A small object is one request that carries all of it.
        allow_delayed_open=True,
        # Otherwise all of a large object may stand in memory, waiting for the network.
        background_writes=False,
    )


def attempts() -> int:
    given = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return int(given) if given.isdecimal() and int(given) else ATTEMPTS


def fault(error: BaseException, address: Address, name: str = "") -> str | None:
    """Return what an error of the object store means and what to do about it; None if it is no error of one.

    `name` is the object that was asked for, where the error itself may not say.
    """
    found = _AWS_ERROR.search(str(error))
    if found is None:
        return None
    code, status, operation, said = found.groups()
    key = None if name else _KEY.search(str(error))
    place = f"s3://{key[2]}/{key[1]}" if key else f"s3://{address.key}/{name}".rstrip("/")
    said = _REQUEST_ID.sub("", said.partition("\n")[0]).strip().rstrip(".")
    found_out = f"{code}{f' (HTTP {status})' if status else ''}{f', {said}' if said else ''}"
    return f"{address.server}, {operation} of {place}: {found_out}. {_advice(code, status, str(error), address)}"


def _advice(code: str, status: str | None, text: str, address: Address) -> str:
    if "configured region" in text or status == "301" or "AuthorizationHeaderMalformed" in text:
        tried = address.region or "the one that was tried"
        return f"The bucket is in another region than {tried}: set AWS_REGION to its own."
    if code == "NO_SUCH_BUCKET":
        return missing_bucket(address)
    if code == "REQUEST_TIME_TOO_SKEWED":
        return "Set the clock of this machine."
    if code in _REFUSED or status in ("401", "403"):
        return (
            "The credentials were refused. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to those "
            f"of an account that may list, read, write and delete in s3://{address.key}."
        )
    return (
        f"It was tried {attempts()} times. Run the same command again when the server answers: "
        "what was finished is not done again."
    )


def missing_bucket(address: Address) -> str:
    return f"There is no bucket {address.bucket!r} on {address.server}; make it first, or correct the address."
