"""Opt-out targets: whether a name, URL or SWHID that somebody asks about is covered by a request to be left out.

A name without a host may be that of any, so it counts as covered where it would be on some host. This is only said to
whoever holds the workspace and its private list; what leaves a corpus is for `opt_out` alone to say.
"""

from dataclasses import dataclass

from starsmith.document import origin_id, parse_swhid
from starsmith.govern.opt_out import OptOuts, Request
from starsmith.govern.opt_out_names import CASE_INSENSITIVE_HOSTS, place_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What is asked about, in the shape of an origin."""

    url: str
    owner: str = ""
    name: str = ""
    source: str = "git"
    revision_id: bytes | None = None
    directory_id: bytes | None = None
    origin_id: bytes | None = None


def covering(opt_outs: OptOuts, target: str) -> Request | None:
    """Return the first request that covers `owner/name`, a URL or a SWHID, or None."""
    if not opt_outs.requests:
        return None
    if target.startswith("swh:"):
        return _covering_object(opt_outs, target)
    found = (request for asked in _readings(target) for request in opt_outs.matching(asked))
    return next(found, None)


def _covering_object(opt_outs: OptOuts, target: str) -> Request | None:
    wanted = parse_swhid(target)
    return next(
        (each for each in opt_outs.requests if each.kind == "swhid" and parse_swhid(each.value) == wanted), None
    )


def _readings(target: str) -> list[_Asked]:
    """Return what a text may mean: a URL as it stands, a name on any host that is known."""
    if place_of(target) is not None:
        return [_Asked(url=target, origin_id=origin_id(target))]
    owner, _, name = target.rpartition("/")
    named = [_Asked(url=f"local:{target}", owner=owner, name=name)]
    return named + [_Asked(url=f"https://{host}/{target}") for host in sorted(CASE_INSENSITIVE_HOSTS) if owner]
