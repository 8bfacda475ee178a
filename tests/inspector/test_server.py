"""The local server as a process: the requests that it accepts and refuses, and how it ends."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
import torch
from inspector.serving import ROOT, START, Served, free_port, sparse, told
from waiting import has_read, until

from steelyard.cli import main
from steelyard.inspector.server import opened_in_browser


def test_the_page_and_its_parts_are_served_with_their_types(served):
    for path, kind in (
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/page.css", "text/css"),
        ("/served.js", "text/javascript"),
    ):
        status, headers, body = served.get(path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) == int(headers["Content-Length"]) > 50
    assert b'src="served.js"' in served.get("/")[2]
    assert b"function unpack(" in served.get("/served.js")[2]
    assert served.get("/data/pack.js")[0] == 404


@pytest.mark.parametrize("token", ["x", "A" * 32, "%2e%2e", "..", "%C3%A9", "%FF", "api", "index.html"])
def test_requests_without_the_token_are_refused(served, token):
    for path in (f"/{token}/", f"/{token}/api/index", f"/{token}", "/favicon.ico", f"/{token}/{served.token}/"):
        status, headers, body = served.raw(path)
        assert (status, told(headers, body)) == (404, "page not found")


def test_the_address_without_its_token_is_a_page_that_explains_what_to_do(served):
    status, headers, body = served.raw("/")
    assert (status, headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert b"Open the whole address that <code>steelyard serve</code> printed" in body


def test_the_browser_gets_the_address_in_a_file_that_only_its_user_can_read(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with opened_in_browser("http://127.0.0.1:1/secret/"):
        path = Path(opened[0].removeprefix("file://"))
        assert "secret" not in opened[0]
        assert "url=http://127.0.0.1:1/secret/" in path.read_text()
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not path.exists()


def test_a_shortened_or_extended_token_is_refused(served):
    for token in (served.token[:-1], served.token + "x", served.token.swapcase(), served.token[::-1]):
        assert served.raw(f"/{token}/api/index")[0] == 404
    assert served.raw(f"/{served.token}")[0] == 404
    assert len(served.token) >= 32


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/....//secret.txt", "/..\\secret.txt", "//etc/passwd", "/%2fetc%2fpasswd",
        "/secret.txt", "/before.safetensors", "/__init__.py", "/../server.py", "/page.css/", "/page.css%00", "/index.html/../../server.py",
        "/api/", "/api", "/api/nothing", "/api/index/", "/api/../api/index", "/api/download/x.npy", "/%ff", "/page%2ecss%2f..", "/favicon.ico",
    ],
)  # fmt: skip
def test_no_path_reaches_the_file_system(served, path):
    status, headers, body = served.get(path)
    assert (status, told(headers, body)) == (404, "page not found")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8137",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:80",
        "127.0.0.1:8137.evil.example",
        "[::1]:8137",
        "0.0.0.0:8137",
        "",
        "localhost:8137:8137",
    ],
)
def test_an_unexpected_host_header_is_refused_even_with_the_token(served, host):
    status, headers, body = served.get("/api/index", Host=host)
    assert (status, told(headers, body)) == (400, "unexpected Host header")


def test_the_machine_s_own_host_names_are_accepted(served):
    for name in ("127.0.0.1", "localhost"):
        assert served.get("/api/index", Host=f"{name}:{served.port}")[0] == 200


def test_two_host_headers_are_refused(served):
    status, *_ = served.get("/api/index", Host=[f"127.0.0.1:{served.port}", "evil.example"])
    assert status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_is_allowed(served, method):
    status, headers, body = served.get("/api/index", method)
    assert (status, told(headers, body)) == (405, "this server only reads: use GET or HEAD")
    assert headers["Allow"] == "GET, HEAD"


def test_head_has_the_headers_and_no_body(served, rows):
    for path in ("/", "/api/index", f"/api/download?row={rows['fc.weight']}&side=0&format=npy"):
        status, headers, body = served.get(path, "HEAD")
        assert (status, body) == (200, b"")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_answer_forbids_what_a_page_does_not_need(served):
    answers = [
        served.get("/"),
        served.get("/page.css"),
        served.get("/api/index"),
        served.get("/none"),
        served.raw("/x/"),
        served.get("/", "POST"),
        served.get("/", Host="x"),
        served.get("/api/detail"),
    ]
    assert [status for status, _, _ in answers] == [200, 200, 200, 404, 404, 405, 400, 400]
    for _, headers, _ in answers:
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
        assert "server" not in headers


def listening(port):
    """Return the addresses at which a port is open, as reported by the system."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.append(address)
    return found


def test_it_listens_on_this_machine_only(served):
    assert listening(served.port) == ["0100007F"]


def test_slow_and_silent_clients_do_not_block_others(served, rows):
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(60)]
    try:
        for nth, each in enumerate(silent):
            each.sendall(
                b"GET /"
                if nth % 2
                else f"GET /{served.token}/api/download?side=0&format=npz HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
            )
        begun = time.monotonic()
        for _ in range(5):
            assert served.get("/api/index")[0] == 200
            served.ask("detail", row=rows["fc.weight"], side=0)
        assert time.monotonic() - begun < 5
    finally:
        for each in silent:
            each.close()


def test_a_connection_without_a_request_is_closed_after_a_while(start, folder):
    hasty = "import steelyard.inspector.server as server; server.REQUEST_TIMEOUT = 0.3; " + START
    served = start(folder / "after.safetensors", code=hasty)
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert client.recv(100) == b""
    assert served.get("/api/index")[0] == 200


def test_a_connection_whose_second_request_arrives_slowly_is_closed_too(start, folder):
    hasty = "import steelyard.inspector.server as server; server.REQUEST_TIMEOUT = 0.5; " + START
    served = start(folder / "after.safetensors", code=hasty)
    request = f"GET /{served.token}/page.css HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client, client.makefile("rb") as answers:
        for _ in range(2):
            client.sendall(request)
            head = list(iter(answers.readline, b"\r\n"))
            length = next(int(line.split()[1]) for line in head if line.lower().startswith(b"content-length"))
            assert (head[0][:12], len(answers.read(length))) == (b"HTTP/1.1 200", length)
        client.sendall(request[:40])
        assert answers.read() == b""


def test_a_download_may_take_longer_than_a_request(start, tmp_path):
    path = sparse(tmp_path / "large.safetensors", 64 << 20)
    hasty = "import steelyard.inspector.server as server; server.REQUEST_TIMEOUT = 0.05; " + START
    served = start(path, code=hasty)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(
            f"GET /{served.token}/api/download?side=0&format=safetensors HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        begun, size = time.monotonic(), len(client.recv(1))
        while time.monotonic() - begun < 0.2:  # the client reads nothing
            pass
        while piece := client.recv(1 << 20):
            size += len(piece)
    assert size > 64 << 20


def test_bytes_that_are_not_http_are_refused_harmlessly(served):
    for data in (
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"GET\r\n\r\n",
        b"A" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as client:
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(1 << 16)
            except OSError:  # the server closed the connection meanwhile
                answer = b""
        assert b"Traceback" not in answer
        assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert served.get("/api/index")[0] == 200


def test_ctrl_c_ends_the_server_at_once_and_silently_and_a_second_server_takes_another_port(folder, start):
    one = start(folder / "after.safetensors")
    two = start(folder / "after.safetensors", port=one.port)
    assert one.port < two.port <= one.port + 20
    assert one.token != two.token
    assert two.raw(f"/{one.token}/")[0] == 404
    for each in (one, two):
        idle = socket.create_connection(("127.0.0.1", each.port))
        assert each.get("/api/index")[0] == 200
        begun = time.monotonic()
        status, _, err = each.stop()
        assert (status, err) == (130, "")
        assert time.monotonic() - begun < 2
        idle.close()
    assert listening(one.port) == []


def test_ctrl_c_ends_the_server_during_a_reading_and_a_download(tmp_path, start):
    path = sparse(tmp_path / "large.safetensors", 4 << 30)
    served = start(path)
    answered = []

    def waiting():
        with suppress(http.client.HTTPException, OSError):
            answered.append(served.get("/api/detail?row=0&side=0")[0])

    slow = Thread(target=waiting)
    slow.start()
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(
            f"GET /{served.token}/api/download?side=0&format=safetensors HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: has_read(served.process, 256 << 20))
        begun = time.monotonic()
        status, _, err = served.stop()
    assert (status, err) == (130, "")
    assert time.monotonic() - begun < 2
    slow.join()
    assert 200 not in answered


def test_the_server_opens_no_connection(tmp_path, folder, start):
    """The process itself logs every attempt to open a connection."""
    watch = (
        "import socket; out = open({file!r}, 'a', buffering=1)\n"
        "for name in ('connect', 'connect_ex', 'sendto'):\n"
        "    def watched(self, *rest, own=getattr(socket.socket, name), name=name):\n"
        "        out.write(f'{{name}} {{rest}}\\n'); return own(self, *rest)\n"
        "    setattr(socket.socket, name, watched)\n"
        "for name in ('getaddrinfo', 'gethostbyname'):\n"
        "    def watched(*rest, own=getattr(socket, name), name=name):\n"
        "        out.write(f'{{name}} {{rest}}\\n'); return own(*rest)\n"
        "    setattr(socket, name, watched)\n"
    )
    code = watch.format(file=str(tmp_path / "reached")) + START.replace("import signal", "import signal", 1)
    served = start(folder / "after.safetensors", "--before", folder / "before.safetensors", code=code)
    index = served.ask("index")
    for row in range(len(index["columns"]["name"])):
        served.ask("compare", row=row)
    served.ask("detail", row=0, side=0)
    served.stop()
    assert (tmp_path / "reached").read_text() == ""
    probe = watch.format(file=str(tmp_path / "probe")) + "import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", probe], check=True)
    assert (tmp_path / "probe").read_text().startswith("connect_ex")


def test_two_files_in_a_row_a_missing_file_and_an_invalid_port_are_refused(folder, capsys):
    path = str(folder / "after.safetensors")
    with pytest.raises(SystemExit):
        main(["serve", path, path])
    assert "takes no further argument" in capsys.readouterr().err
    assert main(["serve", str(folder / "none.pt")]) == 2
    assert "No such file" in capsys.readouterr().err
    for port in ("70000", "x", "-1"):
        with pytest.raises(SystemExit):
            main(["serve", path, "--port", port])
        assert "invalid port" in capsys.readouterr().err


def test_without_the_extra_the_error_names_it_in_one_line(folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["serve", str(folder / "after.safetensors")]) == 2
    assert capsys.readouterr().err == 'error: the inspector needs an extra: pip install "steelyard[view]"\n'


def test_json_contains_the_address(folder):
    code = START + "\n"
    process = subprocess.Popen([sys.executable, "-c", code, "serve", str(folder / "after.safetensors"), "--port", str(free_port()), "--json"], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    record = json.loads(text)
    assert record["url"].startswith("http://127.0.0.1:")
    assert record == {"url": record["url"], "file": str(folder / "after.safetensors"), "before": None}
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()


def test_a_pytorch_checkpoint_is_served_without_running_its_code(tmp_path, start):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"w": torch.ones(2), "x": Evil()}, tmp_path / "evil.pt")
    served = start(tmp_path / "evil.pt")
    assert [each["kind"] for each in served.ask("index")["findings"]] == ["code"]
    assert served.ask("detail", row=0, side=0)["statistics"]["mean"] == 1
    served.stop()
    assert not (tmp_path / "ran").exists()


def test_serve_shows_arrays_and_an_older_file_and_returns_when_it_is_interrupted(folder, servers):
    """The public function, in a thread of an interpreter, and in one with a running event loop, as in a notebook."""
    for call in ("serve()", "asyncio.run(within_a_loop())"):
        code = (
            "import asyncio, signal, numpy, steelyard\n"
            "def interruptible(): signal.signal(signal.SIGINT, signal.default_int_handler)  # as ipykernel does for a cell\n"
            f"def serve(): interruptible(); steelyard.serve({{'new': numpy.eye(3)}}, before={str(folder / 'before.safetensors')!r}, port=0)\n"
            "async def within_a_loop(): serve()\n"
            f"{call}\n"
            "print('returned')\n"
        )
        served = Served(code=code)
        servers.append(served)
        index = served.ask("index")
        assert [each["name"] for each in index["sources"]] == ["dict", "before.safetensors"]
        row = index["columns"]["name"].index("new")
        assert index["columns"]["kind"][row] == "added"
        assert served.ask("detail", row=row, side=0)["statistics"]["mean"] == pytest.approx(1 / 3)
        status, out, err = served.stop()
        assert (status, out.endswith("returned\n"), err) == (0, True, "")
