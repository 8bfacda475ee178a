"""The local server, started as a process and spoken to by sockets: what it answers, and what it refuses."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from inspector.packs import unpacked
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save_file
from waiting import has_read, until

import steelyard
from steelyard.cli import main
from steelyard.inspector import api as answers_module
from steelyard.inspector.api import Answers
from steelyard.inspector.server import file_name

ROOT = Path(__file__).parents[2]
START = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from steelyard.cli import main; sys.exit(main(sys.argv[1:]))"
"""A shell that starts programs in the background lets them ignore SIGINT; whoever presses Ctrl-C does not."""
SIDES = ("top", "left", "bottom", "right")


class Served:
    """A server in a process of its own."""

    def __init__(self, *arguments, code=START, **env):
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **env},
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            pytest.fail(self.process.stderr.read())
        self.token = self.url.rstrip("/").rpartition("/")[2]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def get(self, path, method="GET", **headers):
        """Ask for a path below the token, and return the status, the headers and the body."""
        return self.raw(f"/{self.token}{path}", method, **headers)

    def raw(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                for each in value if isinstance(value, list) else [value]:
                    connection.putheader(name.replace("_", "-"), each)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, word, **query):
        """Ask below api/, and return what is answered, unpacked."""
        status, _, body = self.get(f"/api/{word}?{urlencode(query)}")
        assert status == 200, body
        return unpacked(body)

    def refused(self, word, **query):
        """Ask for what is refused, and return the status and the one line."""
        status, headers, body = self.get(f"/api/{word}?{urlencode(query)}")
        return status, told(headers, body)

    def stop(self, number=signal.SIGINT):
        """Press Ctrl-C, and return the exit status and what was said."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def servers():
    """All servers that a test started, which are ended whatever became of it."""
    started = []
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def start(servers):
    """Start a server on a port that is free."""

    def starting(*arguments, port=None, **options):
        servers.append(Served(*arguments, "--port", free_port() if port is None else port, **options))
        return servers[-1]

    return starting


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def told(headers, body):
    """The one line of a refusal."""
    assert headers["Content-Type"] == "application/json"
    (key, text), *rest = json.loads(body).items()
    assert (key, rest) == ("error", [])
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.fixture(scope="module")
def numbers():
    chance = np.random.default_rng(0)
    return {
        "fc.weight": chance.standard_normal((300, 200)).astype("f4"),
        "conv.weight": chance.standard_normal((4, 3, 5, 5)).astype("f4"),
        "../../etc/pass\r\nwd.bias": np.array([1.5, np.nan, np.inf, -0.1], "f4"),
        "old": chance.standard_normal((3, 3)).astype("f4"),
    }


@pytest.fixture(scope="module")
def folder(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    after = {**numbers, "fc.weight": numbers["fc.weight"] + np.float32(0.1)}
    after["new"] = after.pop("old") * 2
    save_file(after, folder / "after.safetensors")
    save_file(numbers, folder / "before.safetensors")
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def served(folder, servers):
    servers.append(Served(folder / "after.safetensors", folder / "before.safetensors", "--port", free_port()))
    return servers[-1]


@pytest.fixture(scope="module")
def rows(served):
    """The number of each row."""
    return {name: row for row, name in enumerate(served.ask("index")["columns"]["name"])}


def test_the_index_has_every_weight_and_no_figure_yet(served, numbers):
    index = served.ask("index")
    columns = index["columns"]
    assert index["live"] is True
    assert [side["name"] for side in index["sides"]] == ["after.safetensors", "before.safetensors"]
    assert set(columns["name"]) == {*numbers, "new"}
    assert columns["name"][-1] == "old"
    assert set(columns["mean"]) == {None}
    kinds = dict(zip(columns["name"], columns["kind"], strict=True))
    assert kinds == {**dict.fromkeys(numbers), "new": "added", "old": "removed"}
    assert dict(zip(columns["name"], columns["sides"], strict=True))["old"] == [False, True]
    assert index["spark"] is None
    assert index["findings"] == []


def test_the_page_and_its_parts_are_served_with_their_types(served):
    for path, kind in (
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/page.css", "text/css"),
        ("/served.js", "text/javascript"),
        ("/data/pack.js", "text/javascript"),
    ):
        status, headers, body = served.get(path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) == int(headers["Content-Length"]) > 50
    assert b'src="served.js"' in served.get("/")[2]


def test_a_detail_has_the_figures_and_the_picture_of_numpy(served, numbers, rows):
    array = numbers["fc.weight"]
    found = served.ask("detail", row=rows["fc.weight"], side=1)
    assert found["figures"]["mean"] == pytest.approx(array.mean(dtype="f8"), rel=1e-6)
    assert found["histogram"]["counts"].sum() == array.size
    cells, drawn = found["picture"]["cells"], found["picture"]
    assert drawn["height"] * drawn["width"] == len(cells)
    assert np.abs(cells).max() == 127
    assert drawn["scale"] == np.abs(array).max()
    np.testing.assert_allclose(found["spectrum"]["values"][0], np.linalg.svd(array, compute_uv=False)[0], rtol=1e-5)
    assert found["spark"].max() == 255
    assert found["spark_end"] >= np.quantile(np.abs(array), 0.999) * 0.99
    assert found["findings"] == []
    assert served.ask("figures", row=rows["fc.weight"], side=1)["figures"] == found["figures"]
    assert served.ask("detail", row=rows["conv.weight"], side=0)["filters"]["colours"] == 3
    broken = served.ask("detail", row=rows["../../etc/pass\r\nwd.bias"], side=0)
    assert broken["figures"]["first_nonfinite"] == [1]
    assert [each["kind"] for each in broken["findings"]] == ["not finite"]


def test_a_picture_of_a_window_has_its_numbers_and_nan_where_they_are_not_finite(served, numbers, rows):
    window = dict(zip(SIDES, (10, 20, 14, 25), strict=True))
    found = served.ask("picture", row=rows["fc.weight"], side=1, **window, height=64, width=64)["picture"]
    np.testing.assert_array_equal(found["cells"].reshape(4, 5), numbers["fc.weight"][10:14, 20:25])
    coarse = served.ask(
        "picture", row=rows["fc.weight"], side=1, **dict(zip(SIDES, (0, 0, 300, 200), strict=True)), height=1, width=1
    )
    assert abs(coarse["picture"]["cells"][0]) == np.abs(numbers["fc.weight"]).max()
    bias = served.ask(
        "picture", row=rows["../../etc/pass\r\nwd.bias"], side=0, top=0, left=0, bottom=1, right=4, height=1, width=4
    )
    np.testing.assert_array_equal(bias["picture"]["cells"], np.array([1.5, np.nan, np.nan, -0.1], "f4"))


def test_values_are_written_as_numpy_writes_them(served, numbers, rows):
    found = served.ask("values", row=rows["fc.weight"], side=1, top=3, left=4, bottom=5, right=7)
    assert found["texts"] == [str(number) for number in numbers["fc.weight"][3:5, 4:7].reshape(-1)]
    bias = served.ask("values", row=rows["../../etc/pass\r\nwd.bias"], side=0, top=0, left=0, bottom=1, right=4)
    assert bias["texts"] == ["1.5", "nan", "inf", "-0.1"]


def test_two_weights_are_compared_as_diff_does(served, folder, rows):
    want = {
        row.name or row.source: row for row in steelyard.diff(folder / "before.safetensors", folder / "after.safetensors").rows
    }
    for name, row in rows.items():
        found = served.ask("compare", row=row)
        assert found["kind"] == want[name].kind
        if found["kind"] in ("equal", "changed"):
            for word in ("changed", "max_abs", "relative", "cosine"):
                assert found[word] == getattr(want[name], word)
        assert (found["difference"] is not None) == (found["kind"] == "changed")
    drawn = served.ask("compare", row=rows["fc.weight"])["difference"]
    assert drawn["scale"] == pytest.approx(0.1, rel=1e-5)
    assert (drawn["cells"] > 120).all()


def downloaded(served, **query):
    status, headers, body = served.get(f"/api/download?{urlencode(query)}")
    assert status == 200, body
    assert headers["Content-Type"] == "application/octet-stream"
    return headers["Content-Disposition"], body


def test_one_weight_is_downloaded_in_each_format(served, numbers, rows):
    row = rows["fc.weight"]
    named, body = downloaded(served, row=row, side=1, format="npy")
    assert named == 'attachment; filename="fc.weight.npy"'
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), numbers["fc.weight"])
    _, body = downloaded(served, row=row, side=1, format="npz")
    np.testing.assert_array_equal(np.load(io.BytesIO(body))["fc.weight"], numbers["fc.weight"])
    _, body = downloaded(served, row=row, side=1, format="safetensors")
    np.testing.assert_array_equal(load_safetensors(body)["fc.weight"], numbers["fc.weight"])


def test_all_weights_are_downloaded_and_steelyard_reads_them_again(served, numbers, tmp_path):
    named, body = downloaded(served, side=1, format="safetensors")
    assert named == 'attachment; filename="before.safetensors"'
    loaded = load_safetensors(body)
    assert set(loaded) == set(numbers)
    _, body = downloaded(served, side=1, format="npz")
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None
    (tmp_path / "all.npz").write_bytes(body)
    for name, array in numbers.items():
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(steelyard.weights(tmp_path / "all.npz")[name].numpy(), array)


def test_a_name_of_a_download_breaks_no_header_and_leaves_no_folder(served, rows):
    named, _ = downloaded(served, row=rows["../../etc/pass\r\nwd.bias"], side=0, format="npy")
    assert named == 'attachment; filename="_.._etc_pass_wd.bias.npy"'
    assert file_name("x" * 1000 + ".npy").endswith("xx.npy")
    assert len(file_name("x" * 1000 + ".npy")) == 120


@pytest.mark.parametrize(
    ("word", "query", "what"),
    [
        ("detail", {"row": 99, "side": 0}, "there is no row 99: there are 5"),
        ("detail", {"row": 0, "side": 2}, "there is no side 2"),
        ("detail", {"row": -1, "side": 0}, "row must be a whole number from 0 on, not '-1'"),
        ("detail", {"row": "١", "side": 0}, "row must be a whole number from 0 on, not '١'"),
        ("detail", {"row": "9" * 30, "side": 0}, "row must be a whole number from 0 on"),
        ("detail", {"side": 0}, "row must be a whole number from 0 on, not ''"),
        ("detail", {"row": 4, "side": 0}, "row 4 has no weight on side 0"),
        ("figures", {"row": 99, "side": 0}, "there is no row 99"),
        (
            "picture",
            {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 10**9, "right": 1, "height": 1, "width": 1},
            "is no part of it",
        ),
        (
            "picture",
            {"row": 0, "side": 0, "top": 5, "left": 0, "bottom": 2, "right": 1, "height": 1, "width": 1},
            "is no part of it",
        ),
        ("picture", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 1, "height": 0, "width": 1}, "1 to 512"),
        ("picture", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 1, "height": 1, "width": 10**8}, "1 to 512"),
        ("picture", {"row": 0, "side": 0, "height": 1, "width": 1}, "top must be a whole number"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 300, "right": 200}, "at most 10,000 numbers"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 10**6}, "at most 10,000 numbers"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 5000}, "is no part of it"),
        ("compare", {"row": 99}, "there is no row 99"),
        ("download", {"row": 0, "side": 0, "format": "pt"}, "'pt' is no format; there are npy, npz and safetensors"),
        ("download", {"row": 0, "side": 0, "format": "../x"}, "is no format"),
        ("download", {"side": 0, "format": "npy"}, "a .npy file holds one array"),
        ("download", {"side": 7, "format": "npz"}, "there is no side 7"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(served, word, query, what):
    status, line = served.refused(word, **query)
    assert status == 400
    assert what in line


def test_a_parameter_given_twice_is_refused(served):
    status, headers, body = served.get("/api/detail?row=0&row=1&side=0")
    assert (status, told(headers, body)) == (400, "a parameter was given twice")


@pytest.mark.parametrize("token", ["", "x", "A" * 32, "%2e%2e", "..", "%C3%A9", "%FF", "api", "index.html"])
def test_without_the_token_nothing_is_told(served, token):
    for path in (f"/{token}/", f"/{token}/api/index", f"/{token}", "/", "/favicon.ico", f"/{token}/{served.token}/"):
        status, headers, body = served.raw(path)
        assert (status, told(headers, body)) == (404, "there is no such page")


def test_a_part_of_the_token_and_more_than_it_are_no_token(served):
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
    assert (status, told(headers, body)) == (404, "there is no such page")


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
def test_who_comes_by_another_name_is_refused_even_with_the_token(served, host):
    status, headers, body = served.get("/api/index", Host=host)
    assert (status, told(headers, body)) == (400, "this server is asked for by another name than its own")


def test_who_comes_by_its_name_is_answered(served):
    for name in ("127.0.0.1", "localhost"):
        assert served.get("/api/index", Host=f"{name}:{served.port}")[0] == 200


def test_two_hosts_are_not_answered(served):
    status, *_ = served.get("/api/index", Host=[f"127.0.0.1:{served.port}", "evil.example"])
    assert status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_only_reading_is_allowed(served, method):
    status, headers, body = served.get("/api/index", method)
    assert (status, told(headers, body)) == (405, "this server only reads: ask by GET or HEAD")
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
    """The addresses at which a port is open, by what the system says."""
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


def test_who_asks_for_nothing_is_let_go_of_after_a_while(start, folder):
    hasty = "import steelyard.inspector.server as server; server.PATIENCE = 0.3; " + START
    served = start(folder / "after.safetensors", code=hasty)
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert client.recv(100) == b""
    assert served.get("/api/index")[0] == 200


def test_what_is_no_http_is_refused_and_does_no_harm(served):
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
            except OSError:  # hung up on while we spoke
                answer = b""
        assert b"Traceback" not in answer
        assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert served.get("/api/index")[0] == 200


def test_many_ask_at_once_and_each_is_answered_right(served, numbers, rows, start):
    wrong = []

    def asking(nth):
        row, column = nth % 290, nth % 190
        window = dict(zip(SIDES, (row, column, row + 2, column + 2), strict=True))
        texts = served.ask("values", row=rows["fc.weight"], side=1, **window)["texts"]
        if texts != [str(number) for number in numbers["fc.weight"][row : row + 2, column : column + 2].reshape(-1)]:
            wrong.append(nth)

    threads = [Thread(target=asking, args=(nth,)) for nth in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_ctrl_c_ends_it_at_once_without_a_word_and_a_second_start_takes_another_port(folder, start):
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


def test_ctrl_c_ends_it_while_a_large_weight_is_read_and_a_download_is_under_way(tmp_path, start):
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


def sparse(path, size):
    """A file of one matrix of `size` bytes of zeros, which takes no room on the disk, with one number in its middle."""
    columns = 1 << 14
    shape = [size // 4 // columns, columns]
    if path.suffix == ".npy":
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}".ljust(117) + "\n"
        head = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
    else:
        text = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        head = len(text).to_bytes(8, "little") + text
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + size // 2)
        file.write(np.float32(7.25).tobytes())
        file.truncate(len(head) + size)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npy"])
def test_a_file_of_4_gb_opens_within_a_second_and_what_lies_deep_inside_is_read(tmp_path, suffix, start):
    path = sparse(tmp_path / f"large{suffix}", 4 << 30)
    served = start(path)
    begun = time.monotonic()
    index = served.ask("index")
    assert time.monotonic() - begun < 1
    assert index["sides"][0]["bytes"] == 4 << 30
    rows = index["columns"]["matrix"][0][0]
    window = dict(zip(SIDES, (rows // 2, 0, rows // 2 + 1, 3), strict=True))
    begun = time.monotonic()
    assert served.ask("values", row=0, side=0, **window)["texts"] == ["7.25", "0.0", "0.0"]
    window = dict(zip(SIDES, (rows // 2 - 100, 0, rows // 2 + 100, 200), strict=True))
    found = served.ask("picture", row=0, side=0, **window, height=20, width=20)["picture"]["cells"].reshape(20, 20)
    assert found[10, 0] == 7.25
    assert np.count_nonzero(found) == 1
    assert time.monotonic() - begun < 2
    resident = next(
        line for line in Path(f"/proc/{served.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    assert int(resident.split()[1]) < 150 << 10


def test_a_file_that_changes_is_noticed_and_opened_anew_with_the_index(tmp_path, start):
    path = tmp_path / "net.safetensors"
    save_file({"w": np.zeros((4, 4), "f4")}, path)
    served = start(path)
    assert served.ask("detail", row=0, side=0)["figures"]["max"] == 0
    save_file({"v": np.ones((2, 2), "f4"), "w": np.ones((4, 4), "f4")}, path)
    assert served.refused("detail", row=0, side=0) == (400, "a file changed on the disk since it was opened; reload the page")
    assert served.ask("index")["columns"]["name"] == ["v", "w"]
    assert served.ask("detail", row=1, side=0)["figures"]["max"] == 1
    path.unlink()
    assert served.refused("detail", row=1, side=0)[0] == 400
    status, line = served.refused("index")
    assert (status, "No such file" in line) == (400, True)


def test_what_was_read_while_a_file_changed_is_not_kept_for_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_file({"w": np.zeros((4, 4), "f4")}, path)
    answers = Answers([str(path)])

    def slow(weight, found):
        read = detail(weight, found)
        save_file({"w": np.ones((4, 4), "f4")}, tmp_path / "new")
        (tmp_path / "new").replace(path)
        answers.index()
        return read

    detail = answers_module._detail
    monkeypatch.setattr(answers_module, "_detail", slow)
    assert unpacked(answers.detail(0, 0))["figures"]["max"] == 0
    monkeypatch.undo()
    assert unpacked(answers.detail(0, 0))["figures"]["max"] == 1


def test_a_weight_that_cannot_be_read_has_its_error_and_the_others_are_shown(tmp_path, start):
    np.savez_compressed(tmp_path / "x.npz", a=np.random.default_rng(0).standard_normal((40, 40)), b=np.ones(3))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[300:400] = bytes(100)
    (tmp_path / "x.npz").write_bytes(data)
    served = start(tmp_path / "x.npz")
    assert "inflate" in served.ask("detail", row=0, side=0)["error"]
    assert served.ask("detail", row=1, side=0)["figures"]["mean"] == 1
    for word, query in (
        ("figures", {}),
        ("values", dict(zip(SIDES, (39, 39, 40, 40), strict=True))),
        ("download", {"format": "npz"}),
    ):
        status, line = served.refused(word, row=0, side=0, **query)
        assert status == 400
        assert "inflate" in line
    assert served.refused("compare", row=0) == (400, "there is one file, and nothing to compare it with")


def test_it_asks_nobody_for_anything(tmp_path, folder, start):
    """Every attempt to reach anybody is written down by the process itself."""
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
    served = start(folder / "after.safetensors", folder / "before.safetensors", code=code)
    index = served.ask("index")
    for row in range(len(index["columns"]["name"])):
        served.ask("compare", row=row)
    served.ask("detail", row=0, side=0)
    served.stop()
    assert (tmp_path / "reached").read_text() == ""
    probe = watch.format(file=str(tmp_path / "probe")) + "import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-c", probe], check=True)
    assert (tmp_path / "probe").read_text().startswith("connect_ex")


def test_more_than_two_files_no_file_and_a_port_that_is_none_are_refused(folder, capsys):
    path = str(folder / "after.safetensors")
    assert main(["serve", path, path, path]) == 2
    assert capsys.readouterr().err == "error: serve shows one file, or two side by side; 3 are given\n"
    assert main(["serve", str(folder / "none.pt")]) == 2
    assert "No such file" in capsys.readouterr().err
    for port in ("70000", "x", "-1"):
        with pytest.raises(SystemExit):
            main(["serve", path, "--port", port])
        assert "is no port" in capsys.readouterr().err


def test_without_the_extra_one_line_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["serve", str(folder / "after.safetensors")]) == 2
    assert capsys.readouterr().err == 'error: the inspector needs an extra: pip install "steelyard[view]"\n'


def test_json_tells_the_address(folder):
    code = START + "\n"
    process = subprocess.Popen([sys.executable, "-c", code, "serve", str(folder / "after.safetensors"), "--port", str(free_port()), "--json"], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    text = ""
    while not text.endswith("}\n"):
        text += process.stdout.readline()
    record = json.loads(text)
    assert record["url"].startswith("http://127.0.0.1:")
    assert record["files"] == [str(folder / "after.safetensors")]
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()


def test_a_checkpoint_of_pytorch_is_served_and_none_of_its_code_run(tmp_path, start):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"w": torch.ones(2), "x": Evil()}, tmp_path / "evil.pt")
    served = start(tmp_path / "evil.pt")
    assert [each["kind"] for each in served.ask("index")["findings"]] == ["code"]
    assert served.ask("detail", row=0, side=0)["figures"]["mean"] == 1
    served.stop()
    assert not (tmp_path / "ran").exists()
