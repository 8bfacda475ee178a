"""Files of an HTTP server: what is asked for, and what is said of a server that does wrong."""

import datetime as dt
import threading

import numpy as np
import pytest
from serving import Server, cuts_off, direct, fine, says  # noqa: F401 - a fixture

import steelyard
from steelyard import sizes
from steelyard.errors import FileMissingError, FormatError, RemoteWarning, UnsafeFileError
from steelyard.storage.remote import web

NUMBERS = np.arange(200_000.0, dtype="float32")


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    steelyard.save({"w": NUMBERS, "b": np.ones(3)}, path)
    return path.read_bytes()


def opened(server, name="/net.safetensors"):
    return steelyard.weights(f"{server.address}{name}")


def test_a_net_is_listed_by_one_request_and_read_by_several_at_once(content):
    with Server({"/net.safetensors": content}, delay=0.02) as server:
        weights = opened(server)
        assert [weight.shape for weight in weights.values()] == [(200_000,), (3,)]
        assert [asked[1:] for asked in server.taken()] == [(0, sizes.REMOTE_FIRST_BYTES)]
        assert weights.remote
        assert (weights["w"].numpy() == NUMBERS).all()
        asked = server.taken()
        assert 2 <= server.most <= sizes.REMOTE_IN_FLIGHT
        assert sum(length for _, _, length in asked) <= len(content) - sizes.REMOTE_FIRST_BYTES


def test_a_few_numbers_take_one_small_request(content):
    with Server({"/net.safetensors": content}) as server:
        weights = opened(server)
        server.taken()
        assert weights["w"].read(150_000, 150_002).tolist() == [150_000, 150_001]
        assert [length for _, _, length in server.taken()] == [sizes.REMOTE_HEAD_BYTES]


def test_only_the_named_file_is_asked_for(content):
    files = {f"/m/{name}": content for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")}
    others = {"/m/config.json": b"{}", "/m/model.safetensors.index.json": b"{}"}
    with Server({**files, **others}) as server:
        assert len(opened(server, "/m/model-00001-of-00002.safetensors")) == 2
        assert {path for path, _, _ in server.asked} == {"/m/model-00001-of-00002.safetensors"}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_fails_for_a_moment_is_tried_again(content, status):
    with Server({"/net.safetensors": content}, faults=[says(status), fine, says(status, Retry_After="0")]) as server:
        assert (opened(server)["w"].numpy() == NUMBERS).all()


def test_the_pause_that_a_server_asks_for_is_kept(content, monkeypatch):
    paused = []

    async def sleep(seconds):
        paused.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    date = moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
    with Server({"/net.safetensors": content}, faults=[says(503, Retry_After="7"), says(429, Retry_After=date)]) as server:
        opened(server)
    assert paused[0] == 7
    assert 15 < paused[1] <= 20


def test_one_that_asks_for_an_hour_is_an_error_at_once(content):
    with Server({"/net.safetensors": content}, faults=[says(503, Retry_After="3600")]) as server:
        with pytest.raises(FormatError, match=r"503 Service Unavailable, and asks to try again after 3,600 seconds"):
            opened(server)
        assert len(server.asked) == 1


def test_tries_are_few(content):
    with Server({"/net.safetensors": content}, faults=[says(503)] * 99) as server:
        with pytest.raises(FormatError, match=r"net\.safetensors: the server answered 503 Service Unavailable; tried 5 times"):
            opened(server)
        assert len(server.asked) == web.TRIES


def test_a_range_that_breaks_off_goes_on_where_it_did(content):
    with Server({"/net.safetensors": content}, faults=[fine, cuts_off(1000)]) as server:
        weights = opened(server)
        server.taken()
        assert weights["w"].read(150_000, 150_002).tolist() == [150_000, 150_001]
        (_, first, _), (_, again, _) = server.taken()
        assert again == first + 1000


def test_a_server_that_always_breaks_off_is_an_error_in_one_line(content):
    with Server({"/net.safetensors": content}, faults=[cuts_off(10)] * 99) as server:
        with pytest.raises(FormatError, match=r"(?i)tried 20 times \(at byte 200\)") as caught:
            opened(server)
        assert len(server.asked) == web.MOST
        assert len(str(caught.value).splitlines()) == 1


def test_a_silent_server_is_not_waited_for_without_end(content, monkeypatch):
    monkeypatch.setattr(web, "SILENCE", 0.05)
    monkeypatch.setattr(web, "TRIES", 2)
    over = threading.Event()
    with Server({"/net.safetensors": content}, faults=[lambda *_: over.wait(5)] * 9) as server:
        with pytest.raises(FormatError, match=r"(?i)timeout.*; tried 2 times"):
            opened(server)
        over.set()


def test_a_small_file_is_fetched_whole_with_a_warning_where_ranges_are_ignored(content):
    with Server({"/net.safetensors": content}, ignores_ranges=True) as server:
        with pytest.warns(RemoteWarning, match=rf"ignores ranges, so all {len(content):,} bytes were fetched"):
            weights = opened(server)
        assert not weights.remote
        assert (weights["w"].numpy() == NUMBERS).all()
        assert len(server.asked) == 1


def test_a_large_one_is_refused_unless_it_is_asked_for(content, monkeypatch):
    monkeypatch.setattr(sizes, "REMOTE_WHOLE_BYTES", 100_000)
    with Server({"/net.safetensors": content * 10}, ignores_ranges=True) as server:
        with pytest.raises(FormatError, match=r"ignores ranges, so all 8,\d+,\d+ bytes would be fetched; simplecache:: before"):
            opened(server)
        assert server.sent < len(content) * 10
        server.files["/net.safetensors"] = content
        assert (steelyard.weights(f"simplecache::{server.address}/net.safetensors")["w"].numpy() == NUMBERS).all()


def test_simplecache_fetches_every_byte_once(content):
    with Server({"/net.safetensors": content}) as server:
        weights = steelyard.weights(f"simplecache::{server.address}/net.safetensors")
        assert sum(length for _, _, length in server.taken()) == len(content)
        assert (weights["w"].numpy() == NUMBERS).all()
        assert server.taken() == []
        assert not weights.remote


@pytest.mark.parametrize("what", ["etag", "size", "both by date"])
def test_a_file_that_changes_between_requests_is_an_error(content, what):
    with Server({"/net.safetensors": content}) as server:
        weights = opened(server)
        if what == "size":
            server.files["/net.safetensors"] = content + b"\0"
        elif what == "etag":
            server.etag = '"2"'
        else:
            server.faults = [lambda handler, *range_: handler.send_range(*range_, Last_Modified="now") or True]
        with pytest.raises(FormatError, match=r"net\.safetensors: has changed since it was opened; open it again"):
            weights["w"].numpy()


def test_a_file_that_is_opened_again_after_a_change_is_the_new_one(content, tmp_path):
    steelyard.save({"w": -NUMBERS, "b": np.ones(3)}, tmp_path / "new.safetensors")
    with Server({"/net.safetensors": content}) as server:
        assert opened(server)["w"].read(199_999, 200_000).tolist() == [199_999]
        server.taken()
        assert opened(server)["w"].read(199_999, 200_000).tolist() == [199_999]
        assert len(server.taken()) == 1  # what was fetched is kept, since the file is the same
        server.files["/net.safetensors"], server.etag = (tmp_path / "new.safetensors").read_bytes(), '"2"'
        assert opened(server)["w"].read(199_999, 200_000).tolist() == [-199_999]


def changed(**words):
    def fault(handler, content, first, last):
        handler.send_range(content, first, last, **words)
        return True

    return fault


LIES = {
    "another range": (changed(Content_Range="bytes 5-10/800000"), r"sent the bytes 5 to 11 for 0 to 131,072"),
    "no range": (changed(Content_Range="bytes"), r"does not say which range it sends: 'bytes'"),
    "an unknown size": (changed(Content_Range="bytes 0-131071/*"), r"does not say which range"),
    "more bytes than asked for": (
        lambda handler, content, *_: handler.send(206, content[:140_000], Content_Range=f"bytes 0-131071/{len(content)}") or True,
        r"sent more than the 131,072 bytes of the range",
    ),
    "compressed bytes": (changed(Content_Encoding="gzip"), r"compresses the file on its way"),
    "an odd status": (says(418), r"the server answered 418 I'm a Teapot"),
    "no right": (says(403), r"cannot be opened: 403 Forbidden"),
}


@pytest.mark.parametrize(("lie", "said"), LIES.values(), ids=LIES.keys())
def test_a_wrong_answer_is_an_error_that_says_what_is_wrong(content, lie, said):
    with Server({"/net.safetensors": content}, faults=[lie]) as server, pytest.raises(FormatError, match=said) as caught:
        opened(server)
    assert len(str(caught.value).splitlines()) == 1
    assert len(server.asked) == 1


def test_a_size_that_is_too_large_is_found_when_the_bytes_are_read(content):
    def larger(handler, content, first, last):
        handler.send_range(content, first, last, Content_Range=f"bytes {first}-{last}/{len(content) + 10}")
        return True

    with Server({"/net.safetensors": content}, faults=[larger]) as server, pytest.raises(FormatError, match=r"trailing|after"):
        opened(server)


def test_an_empty_file_is_said_to_be_empty():
    with Server({"/net.pt": b""}) as server, pytest.raises(FormatError, match=r"the file is empty \(0 bytes\)"):
        opened(server, "/net.pt")


def test_a_missing_file_and_a_closed_port_are_errors_in_one_line():
    with Server({}) as server:
        with pytest.raises(FileMissingError, match=r"/net\.pt: 404 Not Found; is the address right\?"):
            opened(server, "/net.pt")
        assert len(server.asked) == 1
    with pytest.raises(FormatError, match=r"cannot be reached: .*; is the address right\?"):
        steelyard.weights("http://127.0.0.1:9/net.pt")


def test_a_redirect_within_the_host_is_followed_and_one_to_another_is_refused_unasked(content):
    with Server({"/b.safetensors": content}) as other:
        redirects = {"/a.safetensors": "/b.safetensors", "/away.safetensors": f"{other.address}/b.safetensors?sig=0123456789"}
        with Server({"/b.safetensors": content}, redirects) as server:
            assert opened(server, "/a.safetensors")["w"].read(50_000, 50_001).tolist() == [50_000]
            what = r"redirects to http://127.0.0.1:\d+/b.safetensors, which is another host or scheme; pass that URL itself"
            with pytest.raises(UnsafeFileError, match=what):
                opened(server, "/away.safetensors")
        assert other.asked == []


@pytest.mark.parametrize("target", ["https://127.0.0.1/x", "file:///etc/passwd", "//169.254.169.254/x", "http://[::1"])
def test_no_redirect_leads_to_another_scheme_or_host(target):
    with Server({}, {"/a.pt": target}) as server, pytest.raises(FormatError, match=r"redirects to"):
        opened(server, "/a.pt")


def test_redirects_in_a_circle_end():
    with Server({}, {"/a.pt": "/b.pt", "/b.pt": "/a.pt"}) as server:
        with pytest.raises(FormatError, match=r"redirects more than 10 times"):
            opened(server, "/a.pt")
        assert len(server.asked) == web.HOPS


def test_headers_of_fsspec_are_sent_with_each_request(content, monkeypatch):
    import fsspec

    monkeypatch.setitem(fsspec.config.conf, "http", {"headers": {"Authorization": "Bearer abc"}})
    with Server({"/net.safetensors": content}) as server:
        opened(server)["w"].numpy()
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer abc"}
        assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}
