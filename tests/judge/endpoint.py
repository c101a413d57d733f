"""A chat endpoint on 127.0.0.1 that a test scripts: it keeps what it was asked and answers what it is told."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the endpoint sends back; `wait` is waited for first (a server that hangs)."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: threading.Event | None = None


@dataclass
class Asked:
    """One request as it came."""

    path: str
    key: str | None
    body: dict[str, Any]


Script = Callable[[int, dict[str, Any]], Reply]  # (number of the request from 0, its body) -> reply


@dataclass
class Endpoint:
    """A running server: its address, every request so far, and how many of them it has answered."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    num_replied: int = 0


def says(content: object, finish_reason: str = "stop") -> Reply:
    """A chat completion that says `content`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return Reply(body=json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent where the client went away, as it does after a time-out; any other error is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve(script: Script) -> Iterator[Endpoint]:
    """Run an endpoint that answers by `script` while the block runs."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            data = self.rfile.read(length)
            if len(data) < length:
                raise ConnectionAbortedError("the client has gone")
            body = json.loads(data)
            with lock:
                number = len(endpoint.asked)
                endpoint.asked.append(Asked(self.path, self.headers["Authorization"], body))
            reply = script(number, body)
            if reply.wait is not None:
                reply.wait.wait(60)
            with lock:
                endpoint.num_replied += 1  # before the client can know of it
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
