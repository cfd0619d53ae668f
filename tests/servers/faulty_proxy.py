"""A proxy before an S3 server that answers some requests itself, late, or not at all."""

import http.client
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ERRORS = {
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
    403: ("AccessDenied", "Access Denied"),
    301: ("PermanentRedirect", "The bucket you are attempting to access must be addressed using another endpoint."),
}
_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "te", "upgrade", "date", "server"))


@dataclass
class Fault:
    """What happens to requests whose `METHOD /path?query` matches a pattern, so many times.

    `status` answers with that error. `seconds` waits before the request goes on. `cut` sends half of the body on and
    hangs up on both sides, as a network does that goes away.
    """

    pattern: str
    times: int = 1 << 30
    status: int = 0
    seconds: float = 0.0
    cut: bool = False
    seen: int = 0


class FaultyProxy:
    """Listens on a port of its own; `faults` may be changed at any time, the first that matches counts."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def fault(self, line: str) -> Fault | None:
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.seen < fault.times and re.search(fault.pattern, line):
                    fault.seen += 1
                    return fault
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self._body()
        fault = self.server.proxy.fault(f"{self.command} {self.path}")
        if fault is not None:
            time.sleep(fault.seconds)
        if fault is not None and fault.status:
            self._refuse(fault.status)
        elif fault is not None and fault.cut:
            self._cut(body)
        else:
            self._forward(body)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def log_message(self, *arguments):
        """Say nothing."""

    def _body(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _upstream(self):
        return http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=60)

    def _send(self, connection, body, *, length):
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"connection", "expect", "transfer-encoding", "content-length"}:
                connection.putheader(name, value)
        if self.command in ("PUT", "POST"):
            connection.putheader("Content-Length", str(length))
        connection.endheaders()
        connection.send(body)

    def _forward(self, body):
        connection = self._upstream()
        try:
            self._send(connection, body, length=len(body))
            answer = connection.getresponse()
            data = answer.read()
        except OSError:
            # The server is not there: hang up, as it would have done.
            self.close_connection = True
            return
        finally:
            connection.close()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP and name.lower() != "content-length":
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status):
        code, message = _ERRORS[status]
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        data = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        if status == 301:
            self.send_header("x-amz-bucket-region", "eu-west-3")
        self.end_headers()
        self.wfile.write(data)

    def _cut(self, body):
        connection = self._upstream()
        self._send(connection, body[: len(body) // 2], length=len(body))
        connection.close()
        self.close_connection = True
