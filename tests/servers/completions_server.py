"""A server of completions that writes by rule, and misbehaves when told to."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class CompletionsServer:
    """Each request takes the next of `faults` first, if there is one.

    A fault is a status, (status, headers), `garbage`, `hang up`, `late`, `no choices` or `few stops`.
    """

    def __init__(self, *, seconds=0.0, models=("one",)):
        self.faults = []
        self.requests = []
        self.keys = set()
        self.seconds, self.models = seconds, models
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.own = self
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


def text_for(request):
    """What is written: a function of prompt, suffix and, above temperature 0, the seed."""
    seed = request["seed"] if request["temperature"] else 0
    told = f"{request['prompt']}/{request.get('suffix')}/{seed}".encode()
    return f"    return {hashlib.sha256(told).hexdigest()}\n\ndef more(): pass"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._send(200, {"object": "list", "data": [{"id": name} for name in self.server.own.models]})

    def do_POST(self):
        own = self.server.own
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with own.lock:
            own.requests.append(request)
            own.keys.add(self.headers.get("Authorization"))
            fault = own.faults.pop(0) if own.faults else None
        time.sleep(own.seconds)
        if fault == "few stops" and len(request["stop"]) <= 4:
            fault = None
        if fault is None:
            choice = {"index": 0, "text": text_for(request), "finish_reason": "stop"}
            self._send(200, {"choices": [choice], "usage": {"completion_tokens": 7}})
        elif fault == "hang up":
            self.close_connection = True
        elif fault == "late":
            time.sleep(1.5)
            self.close_connection = True
        elif fault == "garbage":
            self._send(200, b"<html>proxy</html>")
        elif fault == "no choices":
            self._send(200, {"choices": []})
        elif fault == "few stops":
            self._send(400, {"error": {"message": "stop: at most 4 are allowed"}})
        else:
            status, headers = fault if isinstance(fault, tuple) else (fault, {})
            self._send(status, {"error": {"message": "no"}}, headers)

    def _send(self, status, value, headers=()):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in dict(headers).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        """Say nothing."""
