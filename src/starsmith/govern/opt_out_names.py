"""Names of owners, repositories and places, in the form in which a request to be left out is held against an origin.

What is equal here is what whoever asks would call the same. Somebody who writes `Acme`, `https://www.github.com/acme/`
or `git@github.com:ACME/tool.git` means the place that the host shows for it. So schemes, a leading `www.`, a trailing
slash and `.git` do not matter, and letter case matters only on hosts where `Acme` and `acme` can be two owners.

Names are compared as they are spelled, after Unicode's own equivalence (NFC). A name with a letter of another script
that looks alike is the name of somebody else, who has not asked. No section of the paper. This module knows no request
and reads nothing.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from starsmith.sources.git_remote import network_url

CASE_INSENSITIVE_HOSTS: Final = frozenset(
    {
        "github.com",
        "gist.github.com",
        "gitlab.com",
        "bitbucket.org",
        "codeberg.org",
        "gitea.com",
        "gitee.com",
        "git.sr.ht",
        "hg.sr.ht",
        "salsa.debian.org",
        "invent.kde.org",
        "framagit.org",
        "0xacab.org",
    }
)
"""Hosts that give `Acme` and `acme` to one owner: they run GitHub, GitLab, Gitea, Forgejo, Bitbucket or (owners in
small letters only) sourcehut. Every host called `gitlab.*` is taken for one too. On any other host case matters."""

TWO_LEVEL_HOSTS: Final = frozenset({"github.com", "bitbucket.org", "codeberg.org", "gitea.com", "gitee.com"})
"""Hosts on which a repository is owner/name and anything longer is a page about it."""

REGISTRIES: Final = frozenset({"pypi", "npm", "cargo"})
"""Owners in name alone: the sources put a registry there where a package has no owner."""

_LOCAL: Final = frozenset({"local:", "archive:"})
_NETWORK: Final = "//"
_SCHEMES: Final = ("https://", "http://", "git://", "ssh://", "git+ssh://", "ssh+git://", "git+https://", "git+http://")
_MOST_PARTS: Final = 64
_PLAIN_URL: Final = re.compile(r"https://(?!www\.)[a-z0-9-]+(?:\.[a-z0-9-]+)*(?:/(?!\.)[\w.~-]+)+(?<!\.git)", re.ASCII)
_RUNS: Final = re.compile(r"[-_.]+")
_SUFFIX: Final = re.compile(r"(?:\.git)+$", re.IGNORECASE)


class Named(Protocol):
    """What has the names of an origin: `document.Origin`, or a row of the ORIGINS table in such a shape."""

    @property
    def owner(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def revision_id(self) -> bytes | None: ...
    @property
    def directory_id(self) -> bytes | None: ...
    @property
    def origin_id(self) -> bytes | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginNames:
    """Every name under which an origin may be asked for, case folded if its host `ignores_case`."""

    owners: tuple[str, ...]
    repositories: tuple[str, ...]
    places: tuple[str, ...]
    ignores_case: bool


def folded(name: str) -> str:
    """Return a name without regard to letter case. `folded(a) == folded(b)` is an equivalence, as `a == b` is.

    >>> folded("ACME") == folded("acme"), folded("\u0430cme") == folded("acme")
    (True, False)
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _spelled(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def owner_name(text: str) -> str:
    """Return an owner's name as it is compared: without the sign that some hosts put before it, groups by slashes.

    >>> owner_name("~sir"), owner_name("@scope"), owner_name("group/sub")
    ('sir', 'scope', 'group/sub')
    """
    if "@" not in text and "~" not in text:
        return _spelled(text)
    return "/".join(part.lstrip("@~") for part in _spelled(text).split("/"))


def repository_name(owner: str, name: str) -> str:
    """Return owner/name as it is compared.

    >>> repository_name("acme", "tool.git")
    'acme/tool'
    """
    name = _SUFFIX.sub("", _spelled(name)) or name if name[-4:].lower() == ".git" else _spelled(name)
    return f"{owner_name(owner)}/{name}" if owner else name


def package_place(registry: str, name: str) -> str:
    """Return the place of a package without its version, by the registry's own rule for equal names.

    >>> package_place("pypi", "Foo__Bar"), package_place("cargo", "foo_bar"), package_place("npm", "a_b")
    ('pkg:pypi/foo-bar', 'pkg:cargo/foo-bar', 'pkg:npm/a_b')
    """
    return f"pkg:{registry}/{_package_name(registry, name)}"


def _package_name(registry: str, name: str) -> str:
    if registry == "pypi":
        return _RUNS.sub("-", name).lower()
    return name.replace("_", "-").lower() if registry == "cargo" else name


def place_of(url: str) -> tuple[str, ...] | None:
    """Return the parts of a place, the host first; None for what is no URL of a place.

    Parts are what a request may end at: `https://github.com/acme` is not the beginning of
    `https://github.com/acmecorp`, and `pkg:pypi/a` is of `pkg:pypi/a@1.0` alone.

    >>> place_of("git@GitHub.com:acme/tool.git"), place_of("pkg:npm/%40scope/tool@1.0")
    (('//github.com', 'acme', 'tool'), ('pkg:npm', '@scope', 'tool', '@1.0'))
    """
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "pkg":
        return _package_parts(rest)
    if colon and f"{scheme}:" in _LOCAL and not rest.startswith("//"):
        return (f"{scheme}:", *(_spelled(unquote(part)) for part in rest.split("/") if part))
    return _network_parts(url)


def _package_parts(rest: str) -> tuple[str, ...]:
    path, question, qualifiers = rest.partition("?")
    registry, *names = [part for part in path.split("/") if part] or [""]
    registry = registry.lower()
    version: tuple[str, ...] = ()
    if names and "@" in names[-1][1:]:
        names[-1], _, number = names[-1].rpartition("@")
        version = (f"@{unquote(number)}",)
    named = [_spelled(unquote(name)) for name in names]
    if named:
        named[-1] = _package_name(registry, named[-1])
    return (f"pkg:{registry}", *named, *version, *((f"?{unquote(qualifiers)}",) if question else ()))


def _network_parts(url: str) -> tuple[str, ...] | None:
    if _PLAIN_URL.fullmatch(url):
        # The form that sources give; to take it apart like any other would take five times as long.
        _, _, host, *path = url.split("/")
        return (_NETWORK + host, *path)
    found = network_url(url) or _host_alone(url)
    if found is None:
        return None
    host, *path = found.removeprefix("https://").split("/")
    host = host.removeprefix("www.").replace(".:", ":").removesuffix(".")
    return (_NETWORK + host, *(_spelled(unquote(part)) for part in path))


def _host_alone(url: str) -> str | None:
    """Return `https://host` for a URL that names a host and nothing on it."""
    if not url.lower().startswith(_SCHEMES):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    found = (
        None
        if parts.path.strip("/") or not parts.netloc
        else network_url(f"{url.partition('?')[0].partition('#')[0].rstrip('/')}/any")
    )
    return found.removesuffix("/any") if found else None


def ignores_case(host: str) -> bool:
    """Whether names at a host, the first part of a place, are equal whatever their case.

    What has no host (a folder, an archive) may come from any, and nearly all ignore case; registries of packages
    admit no name that differs from another's in case alone.
    """
    if not host.startswith(_NETWORK):
        return True
    plain = host.removeprefix(_NETWORK).partition(":")[0]
    return plain in CASE_INSENSITIVE_HOSTS or plain.startswith("gitlab.")


def place_key(parts: tuple[str, ...]) -> str:
    """Return the text by which a place is found, case folded where its host does.

    >>> place_key(("//github.com", "Acme")), place_key(("//git.example.org", "Acme"))
    ('//github.com/acme', '//git.example.org/Acme')
    """
    text = "/".join(parts)
    return folded(text) if ignores_case(parts[0]) else text


def shown_place(parts: tuple[str, ...]) -> str:
    """Return a place as a person would write it.

    >>> shown_place(("//github.com", "acme")), shown_place(("pkg:npm", "@scope", "tool", "@1.0"))
    ('https://github.com/acme', 'pkg:npm/@scope/tool@1.0')
    """
    host, *path = parts
    if host.startswith(_NETWORK):
        return "/".join((f"https:{host}", *path))
    if host in _LOCAL:
        return host + "/".join(path)
    names = [part for index, part in enumerate(path) if index == 0 or part[0] not in "@?"]
    return "/".join((host, *names)) + "".join(part for part in path[1:] if part[0] in "@?")


def names_of(origin: Named) -> OriginNames:
    """Return every name of an origin.

    An owner's name counts from the first group down (`group`, `group/sub`), and so does the last group alone, which is
    the owner that Starsmith shows: hosts that keep repositories in deep folders put the person last. So a request may
    take too much along where two groups are called the same; `--origin` is exact.
    """
    return _names_of(origin.url, origin.owner, origin.name)


@lru_cache(maxsize=1 << 15)
def _names_of(url: str, owner: str, last: str) -> OriginNames:
    # Every origin is held against the list several times in one run.
    host, *path = place_of(url) or (url,)
    owners, repositories = [owner_name(owner)], [repository_name(owner, last)]
    if host.startswith(_NETWORK) and len(path) > 1:
        *groups, name = path
        owners += (owner_name(group) for group in _beginnings(groups))
        repositories.append(repository_name("/".join(groups), name))
    elif host == "archive:" or (host.startswith("pkg:") and owner in REGISTRIES):
        # Nobody's name: whoever is called `npm` on some host has not asked for all that npm has.
        owners = []
    fold = folded if ignores_case(host) else str
    return OriginNames(
        owners=tuple(dict.fromkeys(fold(name) for name in owners if name)),
        repositories=tuple(dict.fromkeys(map(fold, repositories))),
        places=tuple(map(fold, _beginnings([host, *path]))),
        ignores_case=fold is folded,
    )


def _beginnings(parts: Sequence[str]) -> Iterator[str]:
    text = ""
    for number, part in enumerate(parts[:_MOST_PARTS]):
        text = f"{text}/{part}" if number else part
        yield text
