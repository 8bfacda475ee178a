"""Files at a URL are read by ranges; here over fsspec's own file system in memory."""

import http.server
import json
import subprocess
import sys
import threading

import fsspec
import numpy as np
import pytest

import steelyard
from steelyard.errors import FileMissingError, SteelyardError, UnsafeFileError


@pytest.fixture
def url(tmp_path):
    steelyard.save({"w": np.arange(100_000.0), "b": np.ones(3)}, tmp_path / "net.safetensors")
    files = fsspec.filesystem("memory")
    files.pipe("/folder/net.safetensors", (tmp_path / "net.safetensors").read_bytes())
    yield "memory://folder/net.safetensors"
    files.rm("/folder", recursive=True)


def test_weights_at_a_url_are_those_of_the_file(url):
    w = steelyard.weights(url)
    assert list(w) == ["w", "b"]
    assert w["w"].numpy().tolist() == list(range(100_000))


def test_listing_and_a_run_fetch_little(url, monkeypatch):
    fetched = []
    kind = type(fsspec.filesystem("memory"))
    cat = kind.cat_file

    def counted(self, path, start=None, end=None, **settings):
        fetched.append(end - start)
        return cat(self, path, start=start, end=end, **settings)

    monkeypatch.setattr(kind, "cat_file", counted)
    w = steelyard.weights(url)
    assert fetched == [1 << 16]
    assert w["w"].read(50_000, 50_002).tolist() == [50_000, 50_001]
    assert fetched == [1 << 16, 16]


def test_a_missing_file_is_reported():
    with pytest.raises(FileMissingError, match=r"memory://nowhere/x\.pt: .*is the address right"):
        steelyard.weights("memory://nowhere/x.pt")


def test_without_fsspec_one_line_names_the_extra():
    code = "import sys; sys.modules['fsspec'] = None; import steelyard; steelyard.weights('https://example.org/x.pt')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].endswith('a URL needs an extra: pip install "steelyard[remote]"')


class Server:
    """HTTP on a port of this machine: files by their paths, and where a path redirects to."""

    def __init__(self, files, redirects=None, *, ignores_ranges=False):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def answer(self, *, body):
                outer.asked.append(self.path)
                if self.path in (redirects or {}):
                    self.send_response(302)
                    self.send_header("Location", redirects[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                asked = self.headers.get("Range", "")
                whole = len(content)
                if asked.startswith("bytes=") and not ignores_ranges:
                    first, _, last = asked[6:].partition("-")
                    content = content[int(first) : int(last) + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{whole}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                if not ignores_ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def content(tmp_path):
    steelyard.save({"w": np.arange(100_000.0)}, tmp_path / "net.safetensors")
    return (tmp_path / "net.safetensors").read_bytes()


def test_a_redirect_within_the_host_is_followed_and_one_to_another_is_refused_unasked(content):
    with Server({"/b.safetensors": content}) as other:
        redirects = {"/a.safetensors": "/b.safetensors", "/away.safetensors": f"{other.address}/b.safetensors"}
        with Server({"/b.safetensors": content}, redirects) as server:
            assert steelyard.weights(f"{server.address}/a.safetensors")["w"].read(50_000, 50_001).tolist() == [50_000]
            with pytest.raises(UnsafeFileError, match=r"redirects to http://127.0.0.1:\d+/b.safetensors, which is another host"):
                steelyard.weights(f"{server.address}/away.safetensors")
        assert other.asked == []


def test_a_server_that_ignores_ranges_is_an_error_in_one_line(content):
    with Server({"/b.safetensors": content}, ignores_ranges=True) as server, pytest.raises(SteelyardError) as caught:
        steelyard.weights(f"{server.address}/b.safetensors").to_vector()
    assert len(str(caught.value).splitlines()) == 1


LEADING_OUT = {
    "encoded": "%2e%2e/x.safetensors",
    "a slash": "..%2Fx.safetensors",
    "encoded twice": "%252e%252e/x.safetensors",
    "encoded again and again": f"%{'25' * 100_000}2e%{'25' * 100_000}2e/x.safetensors",
    "a query": "x.safetensors?y",
    "a parameter": "..;/x.safetensors",
    "plain": "../x.safetensors",
}


@pytest.mark.parametrize("name", LEADING_OUT.values(), ids=LEADING_OUT.keys())
def test_an_index_at_a_url_leads_nowhere_outside_its_folder(content, name):
    index = json.dumps({"weight_map": {"w": name}}).encode()
    with Server({"/deep/m.safetensors.index.json": index, "/x.safetensors": content, "/deep/x.safetensors": content}) as server:
        with pytest.raises(UnsafeFileError, match=r"out of the folder|not a name in a URL"):
            steelyard.weights(f"{server.address}/deep/m.safetensors.index.json")
        assert {path.rpartition("/")[2] for path in server.asked} == {"m.safetensors.index.json"}
