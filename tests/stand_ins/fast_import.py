"""Repositories from given files: the stream that `git fast-import` makes one commit of."""

import os
from collections.abc import Mapping


def commit_of(files: Mapping[str, bytes] | Mapping[str | bytes, bytes], *, time: int = 1_700_000_000) -> bytes:
    """Return the stream of one commit on `main`, `time` in seconds since 1970, that holds these files."""
    lines = [b"commit refs/heads/main\ncommitter C <c@example.org> %d +0000\ndata 1\nx\n" % time]
    for name, content in files.items():
        path = os.fsencode(name)
        escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
        lines.append(b'M 100644 inline "%s"\ndata %d\n%s\n' % (escaped, len(content), content))
    return b"".join(lines)
