"""The local server of the inspector, which shows one or two sources to any browser on this machine that has the address.

It listens on 127.0.0.1 only. It refuses requests without the token of its address, and requests whose Host header is not
this machine's, which blocks DNS rebinding. It only reads: no part of a request ever becomes a path, and the server sends
nothing to any other machine.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import MissingExtraError, ShapeError, SteelyardError, printable
from steelyard.inspector.assets import RUN_SERVED, SERVED, page_files, run_files, with_script
from steelyard.inspector.questions import QUESTIONS, Query

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from steelyard.core.protocols import Scope

ADDRESS = "127.0.0.1"
PORT = 8137
PORTS_TRIED = 20  # ports tried before the system chooses one
REQUEST_TIMEOUT = 10  # seconds within which a request must arrive
FIRST_PIECES = 1 << 18  # bytes of a download that are produced before the answer begins
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PACK_TYPE = "application/octet-stream"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer: a page loads no foreign content, is not cached, and cannot be embedded in another page."""


def serve(source: object, before: object = None, *, scope: Scope = "model", port: int = PORT, open_browser: bool = False) -> None:
    """Show a model, a file or anything else that `weights` takes in the browser, until Ctrl-C is pressed.

    Prints the address, which works on this machine only and contains a secret token. Numbers are read when the page shows
    them, so a file of any size opens at once, and a live model shows its current numbers. With `before`, an older source of any
    format or framework, the page also shows the differences. The folder of a run, or a history, gets the page of a run, which
    follows it while it is recorded. `scope` is that of `weights`. The server takes `port`, or the next
    free one; 0 lets the system choose. Raises the errors of `weights`, and `MissingExtraError` without the extra "view".
    """
    with suppress(KeyboardInterrupt):
        serve_sources(
            [each for each in (source, before) if each is not None],
            _print_address,
            scope=scope,
            port=port,
            open_browser=open_browser,
        )


def _print_address(url: str) -> None:
    sys.stdout.write(f"{url}\nPress Ctrl-C to stop.\n")
    sys.stdout.flush()  # a program that waits for the address must not wait for a buffer


def serve_sources(
    sources: Sequence[object], announce: Callable[[str], None], *, scope: Scope, port: int, open_browser: bool
) -> None:
    """Serve one or two sources, the newer first, after `announce` has got the address. Ctrl-C raises `KeyboardInterrupt`."""
    from importlib.util import find_spec

    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise MissingExtraError("the inspector", "view")
    api = _api_of(sources, scope)
    with listen(port) as listening:
        token = new_token()
        url = address(listening, token)
        announce(url)
        with opened_in_browser(url) if open_browser else nullcontext():
            run(api, listening, token)


def _api_of(sources: Sequence[object], scope: Scope) -> Any:
    """Return what answers the pages: of a run, which may be recorded meanwhile, or of one or two nets."""
    from steelyard.inspector.run_page import RunApi, is_run

    if any(map(is_run, sources)):
        if len(sources) > 1:
            raise ShapeError("a page shows one run; steelyard history RUN --before OTHER compares two")
        return RunApi(sources[0])
    from steelyard.inspector.api import Api

    return Api(sources, scope)


@contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open an address in the browser by way of a file that only this user can read: other users see a browser's arguments."""
    import tempfile
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="steelyard-") as folder:  # of mode 700
        path = Path(folder) / "open.html"
        path.touch(mode=0o600)
        path.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={url}"><a href="{url}">{url}</a>')
        webbrowser.open(path.as_uri())
        yield


def listen(port: int) -> socket.socket:
    """Listen on this port of this machine, or on the next free one."""
    for wanted in (*range(port, min(port + PORTS_TRIED, 0x10000)), 0):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two servers share a port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((ADDRESS, wanted))
            listening.listen()
        except OSError:
            listening.close()
            if not wanted:
                raise
        else:
            return listening
    raise OSError("no port is free")  # pragma: no cover - the loop returned or raised


def run(api: Any, listening: socket.socket, token: str) -> None:
    """Answer requests until Ctrl-C, which raises `KeyboardInterrupt` after all readings have ended."""
    import uvicorn

    logging.getLogger("uvicorn.error").disabled = True  # the client gets the error; a closed tab is not worth a message
    config = uvicorn.Config(
        application(api, listening.getsockname()[1], token),
        http=_impatient,  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(config)
    try:
        if _has_event_loop():
            _run_in_thread(server, listening)
        else:
            server.run(sockets=[listening])
    finally:
        api.stop()


def _has_event_loop() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run_in_thread(server: Any, listening: socket.socket) -> None:
    """Run the server in a thread, since a notebook already runs an event loop in this one."""
    ended = threading.Event()

    def run_server() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            ended.set()

    thread = threading.Thread(target=run_server)
    thread.start()
    try:
        ended.wait()  # Thread.join considers the thread ended once it was interrupted
    finally:  # an interrupt of the cell raises KeyboardInterrupt here
        server.should_exit = True
        ended.wait()
        thread.join()


def _impatient(*arguments: Any, **named: Any) -> Any:
    """Return uvicorn's protocol for one connection, which closes when the first or the next request takes too long to arrive.

    uvicorn itself only limits the idle time between two requests, and a single byte lifts that limit.
    """
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol

    protocol: Any = H11Protocol(*arguments, **named)
    responded = protocol.on_response_complete

    def await_request() -> None:
        answered = protocol.cycle

        def close_unless_requested() -> None:
            waiting = protocol.cycle is None or protocol.cycle.response_complete
            if protocol.cycle is answered and waiting and protocol.transport is not None:
                protocol.transport.close()

        asyncio.get_running_loop().call_later(REQUEST_TIMEOUT, close_unless_requested)

    def on_response_complete() -> None:
        responded()
        await_request()

    protocol.on_response_complete = on_response_complete
    await_request()
    return protocol


def address(listening: socket.socket, token: str) -> str:
    """Return the URL of the page."""
    return f"http://{ADDRESS}:{listening.getsockname()[1]}/{token}/"


def new_token() -> str:
    """Return a random token that cannot be guessed."""
    return secrets.token_urlsafe(24)


def application(api: Any, port: int, token: str) -> Any:
    """Return the ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    pages, questions = _parts_of(api)

    def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        text = pages.get(name)
        return _refused(404, NOT_FOUND) if text is None else _response(text, MEDIA_TYPES[os.path.splitext(name)[1]])

    def unknown(request: Request, error: Exception) -> Response:
        return _refused(404, NOT_FOUND)

    def refused(request: Request, error: Exception) -> Response:
        return _refused(400, printable(error, 1000))

    def broken(request: Request, error: Exception) -> Response:
        return _refused(500, f"the server failed: {type(error).__name__}")

    routes = [Route(f"/api/{word}", _endpoint(api, answer)) for word, answer in questions.items()]
    inner = Starlette(
        routes=[*routes, Route("/", page), Route("/{name:path}", page)],
        exception_handlers={HTTPException: unknown, SteelyardError: refused, OSError: refused, Exception: broken},
    )
    inner.router.redirect_slashes = False
    return _guarded(inner, {f"{name}:{port}".encode() for name in (ADDRESS, "localhost")}, token)


NOT_FOUND = "page not found"
INCOMPLETE = """<!doctype html><title>steelyard</title>
<p>This address is incomplete. Open the whole address that <code>steelyard serve</code> printed, with the letters after the slash.
"""


def _guarded(inner: Any, hosts: set[bytes], token: str) -> Any:
    """Return an application that passes on only permitted requests, and adds the headers to every answer."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        refusal = _refusal(scope, hosts, token)
        if refusal is None:
            scope = {**scope, "path": scope["path"][len(token) + 1 :], "root_path": ""}

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((key.encode(), text.encode()) for key, text in HEADERS.items())]
            await send(message)

        await (refusal or inner)(scope, receive, send_with_headers)

    return guarded


def _refusal(scope: Any, hosts: set[bytes], token: str) -> Response | None:
    """Return the answer to a request that must be refused, None for any other."""
    if [text for name, text in scope["headers"] if name == b"host"] not in [[host] for host in hosts]:
        return _refused(400, "unexpected Host header")
    if scope["path"] == "/":
        return _response(INCOMPLETE, "text/html", 404)
    first, slash, _ = scope["path"].removeprefix("/").partition("/")
    if not secrets.compare_digest(first.encode(errors="replace"), token.encode()) or not slash:
        return _refused(404, NOT_FOUND)
    if scope["method"] not in ("GET", "HEAD"):
        return _refused(405, "this server only reads: use GET or HEAD", {"Allow": "GET, HEAD"})
    return None


def _response(body: str | bytes, media_type: str, status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(body, status, media_type=media_type)


def _refused(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": reason}, status, headers)


def _parts_of(api: Any) -> tuple[dict[str, str], Mapping[str, Callable[[Any, Query], Any]]]:
    """Return the files of a page and its questions: those of a run, or of a net."""
    from steelyard.inspector.api import Api

    if isinstance(api, Api):
        return with_script(page_files(), SERVED), QUESTIONS
    return with_script(run_files(), RUN_SERVED), {"run": lambda run, query: run.run(query)}


def _endpoint(api: Any, answer: Callable[[Any, Query], Any]) -> Callable[[Request], Response]:
    """Return an endpoint; it is not async, so Starlette runs it in a thread."""

    def endpoint(request: Request) -> Response:
        content = answer(api, Query(request.query_params.multi_items()))
        if isinstance(content, bytes):
            return _response(content, PACK_TYPE)
        return _attachment(*content, with_body=request.method == "GET")

    return endpoint


def _attachment(name: str, pieces: Iterator[bytes | memoryview], *, with_body: bool) -> Response:
    """Answer with a file. Its first bytes are produced before the answer begins, so that an early error can still be reported."""
    from starlette.responses import Response, StreamingResponse

    headers = {"Content-Disposition": f'attachment; filename="{file_name(name)}"'}
    first: list[bytes] = []
    while sum(map(len, first)) < FIRST_PIECES and (piece := next(pieces, None)) is not None:
        first.append(bytes(piece))
    if not with_body:
        return Response(headers=headers, media_type=PACK_TYPE)
    return StreamingResponse(chain(first, map(bytes, pieces)), headers=headers, media_type=PACK_TYPE)


def file_name(name: str) -> str:
    r"""Return a name that is valid on every system and cannot break out of a header.

    >>> file_name('../a\r\n"b".npy'), file_name("конв.npy")
    ('_a_b_.npy', '_.npy')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")
    return plain if len(plain) <= 120 else f"{plain[:60]}{plain[-60:]}"
