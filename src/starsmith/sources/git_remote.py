"""The name of a git repository: its URL, owner and name, from its configuration or from its folders.

git's own configuration reader is never used on a foreign repository, since a configuration can name programs to run.
Only the URL of the remote `origin` is read here, by a parser of our own that follows no include. Credentials in it are
left behind. A remote that lies on this machine says nothing about where the code came from, so the folders name the
repository then; no path of this machine becomes part of a name. `url.<base>.insteadOf` is not applied.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starsmith.document import readable_path

_NETWORK_SCHEMES = frozenset({"http", "https", "git", "ssh", "git+ssh", "ssh+git", "git+https", "git+http"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MOST_URL_CHARS = 2048

_CONTINUED_LINE = re.compile(r"(?<!\\)((?:\\\\)*)\\\r?\n")
_SPACE = " \t\r"
_SECTION = re.compile(r'\s*\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_ENTRY = re.compile(r"\s*([A-Za-z][\w-]*)\s*=(.*)")
_VALUE_PIECE = re.compile(r'\\(.)|(")|([#;])|([^\\"#;]+)')
_VALUE_ESCAPES = {"n": "\n", "t": "\t", "b": "\b"}

_SHORT_FORM = re.compile(r"(?:.*@)?([\w.-]{2,}):(?!//)([^:].*)", re.ASCII)
"""`user@host:path`. A host of one letter would be a Windows drive; `name::` names a remote helper."""
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.ASCII)
_SUFFIX = re.compile(r"(?:\.git)+$")
_QUERY = re.compile(r"[?#]")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\\ufffd]")


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryName:
    """Under which URL, owner and name the documents of a repository are listed."""

    url: str
    owner: str
    name: str


def repository_name(config: str, location: Path) -> RepositoryName:
    """Name a repository by the URL of its remote `origin`, else by the last two folders of `location`.

    >>> repository_name('[remote "origin"]\\n url = git@github.com:python/cpython.git', Path("/tmp/x")).url
    'https://github.com/python/cpython'
    >>> repository_name("", Path("/home/me/team/tool.git")).url
    'local:team/tool'
    """
    remote = next(config_values(config, section="remote", subsection="origin", key="url"), "")
    url = network_url(remote)
    if url is None:
        return _folder_name(location)
    _, *folders, name = url.removeprefix("https://").split("/")
    return RepositoryName(url=url, owner=folders[-1] if folders else "", name=name)


def config_values(config: str, *, section: str, subsection: str, key: str) -> Iterator[str]:
    r"""Yield the values of one key of a git configuration, in the order of the file.

    >>> list(config_values('[a "b"]\nc = "x;y" ; remark\n', section="a", subsection="b", key="c"))
    ['x;y']
    """
    inside = False
    for line in _CONTINUED_LINE.sub(r"\1", config).split("\n"):
        heading = _SECTION.match(line)
        if heading is not None:
            inside = heading[1].lower() == section and re.sub(r"\\(.)", r"\1", heading[2] or "") == subsection
            line = line[heading.end() :]
        entry = _ENTRY.match(line) if inside else None
        if entry is not None and entry[1].lower() == key:
            yield _unquoted(entry[2])


def network_url(remote: str) -> str | None:
    """Return `https://host/path` for the URL of a remote on some host, without credentials; None for any other.

    >>> network_url("ssh://git:secret@Example.org:2222/team/tool.git/")
    'https://example.org/team/tool'
    >>> network_url("/srv/git/tool.git") is None, network_url("ext::sh -c true") is None
    (True, True)
    """
    if len(remote) > _MOST_URL_CHARS or _UNPRINTABLE.search(remote):
        return None
    host_and_path = _split_url(remote) if "://" in remote else _split_short_form(remote)
    if host_and_path is None:
        return None
    host, path = host_and_path
    parts = [part for part in path.split("/") if part]
    if parts:
        parts[-1] = _SUFFIX.sub("", parts[-1])
    # An @ inside a path is where the password of a badly written URL would be found.
    if not parts or any(part in ("", ".", "..") or "@" in part[1:] or _QUERY.search(part) for part in parts):
        return None
    return "/".join((f"https://{host}", *parts))


def _split_url(remote: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # brackets that do not match, a port that is no number
        return None
    if parts.scheme not in _NETWORK_SCHEMES or not _HOST.fullmatch(host):
        return None
    if ":" in host:
        host = f"[{host}]"
    if parts.scheme in _DEFAULT_PORTS and port not in (None, _DEFAULT_PORTS[parts.scheme]):
        host = f"{host}:{port}"
    return host, parts.path


def _split_short_form(remote: str) -> tuple[str, str] | None:
    match = _SHORT_FORM.fullmatch(remote)
    return (match[1].lower(), match[2]) if match else None


def _unquoted(raw: str) -> str:
    """Return what a value of a git configuration means: quotes and escapes undone, a remark removed."""
    pieces: list[str] = []
    quoted = False
    for escape, quote, remark, text in _VALUE_PIECE.findall(raw.strip(_SPACE)):
        if quote:
            quoted = not quoted
        elif remark and not quoted:
            return "".join(pieces).rstrip(_SPACE)
        else:
            pieces.append(_VALUE_ESCAPES.get(escape, escape) or remark or text)
    return "".join(pieces)


def _folder_name(location: Path) -> RepositoryName:
    parts = [readable_path(os.fsencode(part)) for part in Path(os.path.abspath(location)).parts[1:]]
    if parts and parts[-1] == ".git":
        parts.pop()
    owner, name = ["", "", *parts][-2:]
    name = name.removesuffix(".git") or name
    return RepositoryName(url=f"local:{owner}/{name}", owner=owner, name=name)
