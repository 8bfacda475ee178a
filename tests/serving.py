"""An HTTP server on a port of this machine, which counts what it is asked for, and can do wrong in many ways."""

import http.server
import sys
import threading
import time

import pytest


class Quiet(http.server.ThreadingHTTPServer):
    """A server that prints nothing about clients that go away, which a test would take for what a command printed."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """Files by their paths. `asked` has the path, the first byte and the number of bytes of each request, in order.

    `redirects` are paths that lead elsewhere. `faults` are answered one after another to the requests for ranges, each a function
    of the handler, the content, the first and the last byte; one that returns true has answered. `most` is how many requests were
    answered at once.
    """

    def __init__(self, files, redirects=None, *, faults=(), ignores_ranges=False, etag='"1"', delay=0.0):
        self.files, self.redirects, self.faults = dict(files), dict(redirects or {}), list(faults)
        self.ignores_ranges, self.etag, self.delay = ignores_ranges, etag, delay
        self.asked, self.headers, self.sent = [], [], 0
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.server = Quiet(("127.0.0.1", 0), handler_of(self))
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        """Return what was asked for since the last call."""
        asked, self.asked = self.asked, []
        return asked


def handler_of(server):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            with server.lock:
                server.now += 1
                server.most = max(server.most, server.now)
            try:
                time.sleep(server.delay)
                self.answer()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            finally:
                with server.lock:
                    server.now -= 1

        def answer(self):
            path, content = self.path.partition("?")[0], None
            server.headers.append(dict(self.headers))
            if path in server.redirects:
                server.asked.append((path, 0, 0))
                return self.send(302, b"", Location=server.redirects[path])
            content = server.files.get(path)
            if content is None:
                server.asked.append((path, 0, 0))
                return self.send(404, b"nothing here")
            asked = self.headers.get("Range", "")
            first, last = 0, len(content) - 1
            if asked and not server.ignores_ranges:
                first, last = (int(each) for each in asked.removeprefix("bytes=").split("-"))
                last = min(last, len(content) - 1)
            server.asked.append((path, first, last + 1 - first))
            if server.faults and server.faults.pop(0)(self, content, first, last):
                return None
            if not asked or server.ignores_ranges:
                return self.send(200, content)
            if first >= len(content):
                return self.send(416, b"", Content_Range=f"bytes */{len(content)}")
            return self.send_range(content, first, last)

        def send_range(self, content, first, last, **headers):
            words = {"Content_Range": f"bytes {first}-{last}/{len(content)}", **headers}
            return self.send(206, content[first : last + 1], **words)

        def send(self, status, body, **headers):
            self.send_response(status)
            words = {"Content_Length": str(len(body)), **({"ETag": server.etag} if server.etag else {}), **headers}
            for name, value in words.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            for start in range(0, len(body), 1 << 16):
                server.sent += len(body[start : start + (1 << 16)])
                self.wfile.write(body[start : start + (1 << 16)])

        def log_message(self, *_):
            pass

    return Handler


def says(status, **headers):
    """Return a fault: the server answers with a status."""

    def fault(handler, content, first, last):
        handler.send(status, b"", **headers)
        return True

    return fault


def cuts_off(after):
    """Return a fault: the connection ends after so many bytes of the range."""

    def fault(handler, content, first, last):
        handler.send(
            206,
            content[first : first + after],
            Content_Range=f"bytes {first}-{last}/{len(content)}",
            Content_Length=str(last + 1 - first),
        )
        handler.close_connection = True
        return True

    return fault


def fine(handler, content, first, last):
    """Answer as usual."""


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """Ask no proxy for this machine, and wait for nothing."""
    from steelyard.storage.remote import web

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "PAUSE", 0.001)
