"""The local server of the inspector: one or two files, shown to whoever on this machine has the address.

It listens on 127.0.0.1 only, and answers nobody who does not know the token in its address, or who came by another name
than that of this machine, as a page of the web would that lets its name point here. It reads, and writes nothing; no part
of a request ever becomes a path. It asks nobody for anything.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from steelyard.errors import MissingExtraError, ShapeError, SteelyardError, printable
from steelyard.inspector.assets import page_files

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from steelyard.inspector.api import Answers

ADDRESS = "127.0.0.1"
PORT = 8137
TRIED = 20
"""Ports that are tried, one after another, before the system picks one."""
PATIENCE = 10
"""Seconds in which a request must have arrived."""
BEGIN = 1 << 18
"""Bytes of a download that are made before it begins."""
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PACK = "application/octet-stream"
WINDOW = ("top", "left", "bottom", "right")
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
"""What every answer has, so that nothing is loaded from elsewhere, nothing kept, and nothing shown inside another page."""


def listen(port: int) -> socket.socket:
    """Listen on this port of this machine, or on the next that is free."""
    for wanted in (*range(port, min(port + TRIED, 0x10000)), 0):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two servers have one port
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((ADDRESS, wanted))
            found.listen()
        except OSError:
            found.close()
            if not wanted:
                raise
        else:
            return found
    raise OSError("no port is free")  # pragma: no cover - the loop returned or raised


def serve(answers: Answers, listening: socket.socket, token: str) -> None:
    """Answer until Ctrl-C, which is raised when all has ended. Raises `MissingExtraError` without Starlette and uvicorn."""
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("the inspector", "view") from None
    logging.getLogger("uvicorn.error").disabled = True  # whoever asked is told; a closed tab is no news
    config = uvicorn.Config(
        application(answers, listening.getsockname()[1], token),
        http=_impatient,  # type: ignore[arg-type] # only called
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        answers.stop()


def _impatient(*arguments: Any, **named: Any) -> Any:
    """Make uvicorn's protocol of one connection, which is closed when no request has come after some seconds."""
    import asyncio

    from uvicorn.protocols.http.h11_impl import H11Protocol

    made: Any = H11Protocol(*arguments, **named)

    def close() -> None:
        if made.cycle is None and made.transport is not None:
            made.transport.close()

    asyncio.get_running_loop().call_later(PATIENCE, close)
    return made


def address(listening: socket.socket, token: str) -> str:
    """Return where the page is."""
    return f"http://{ADDRESS}:{listening.getsockname()[1]}/{token}/"


def new_token() -> str:
    """Return a word that nobody can guess."""
    return secrets.token_urlsafe(24)


def application(answers: Answers, port: int, token: str) -> Any:
    """Return the ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    pages = page_files()

    def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        text = pages.get(name)
        return _refused(404, "there is no such page") if text is None else _response(text, KINDS[os.path.splitext(name)[1]])

    def unknown(request: Request, error: Exception) -> Response:
        return _refused(404, "there is no such page")

    def refused(request: Request, error: Exception) -> Response:
        return _refused(400, printable(error, 1000))

    def broken(request: Request, error: Exception) -> Response:
        return _refused(500, f"the server failed: {type(error).__name__}")

    routes = [Route(f"/api/{word}", _answering(answers, answer)) for word, answer in ANSWERS.items()]
    inner = Starlette(
        routes=[*routes, Route("/", page), Route("/{name:path}", page)],
        exception_handlers={HTTPException: unknown, SteelyardError: refused, OSError: refused, Exception: broken},
    )
    inner.router.redirect_slashes = False
    return _guarded(inner, {f"{name}:{port}".encode() for name in (ADDRESS, "localhost")}, token)


def _guarded(inner: Any, hosts: set[bytes], token: str) -> Any:
    """Return an application that lets through only requests that may be answered, and adds the headers to every answer."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        refusal = _refusal(scope, hosts, token)
        if refusal is None:
            scope = {**scope, "path": scope["path"][len(token) + 1 :], "root_path": ""}

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((key.encode(), text.encode()) for key, text in HEADERS.items())]
            await send(message)

        await (refusal or inner)(scope, receive, sent)

    return guarded


def _refusal(scope: Any, hosts: set[bytes], token: str) -> Response | None:
    """Return the answer to a request that must not be answered, None where it may."""
    if [text for name, text in scope["headers"] if name == b"host"] not in [[host] for host in hosts]:
        return _refused(400, "this server is asked for by another name than its own")
    first, slash, _ = scope["path"].removeprefix("/").partition("/")
    if not secrets.compare_digest(first.encode(errors="replace"), token.encode()) or not slash:
        return _refused(404, "there is no such page")
    if scope["method"] not in ("GET", "HEAD"):
        return _refused(405, "this server only reads: ask by GET or HEAD", {"Allow": "GET, HEAD"})
    return None


def _response(body: str | bytes, kind: str) -> Response:
    from starlette.responses import Response

    return Response(body, media_type=kind)


def _refused(status: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": what}, status, headers)


def _answering(answers: Answers, answer: Callable[[Answers, Question], Any]) -> Callable[[Request], Response]:
    """Return an endpoint, which is run in a thread."""

    def answering(request: Request) -> Response:
        found = answer(answers, Question(request.query_params.multi_items()))
        if isinstance(found, bytes):
            return _response(found, PACK)
        return _attachment(*found, whole=request.method == "GET")

    return answering


class Question:
    """What is asked: whole numbers and words by name, each once."""

    __slots__ = ("_words",)

    def __init__(self, words: Sequence[tuple[str, str]]) -> None:
        self._words = dict(words)
        if len(self._words) != len(words):
            raise ShapeError("a parameter was given twice")

    def number(self, name: str) -> int:
        """Return a number from 0 on."""
        text = self._words.get(name, "")
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
            raise ShapeError(f"{name} must be a whole number from 0 on, not {printable(text, 40)!r}")
        return int(text)

    def row(self) -> int | None:
        """Return the row, None where none is named."""
        return self.number("row") if "row" in self._words else None

    def window(self) -> tuple[int, int, int, int]:
        """Return the window of a matrix."""
        top, left, bottom, right = map(self.number, WINDOW)
        return top, left, bottom, right

    def word(self, name: str) -> str:
        """Return a word, blank where it is not given."""
        return self._words.get(name, "")


ANSWERS: dict[str, Callable[[Answers, Question], Any]] = {
    "index": lambda answers, _: answers.index(),
    "detail": lambda answers, asked: answers.detail(asked.number("row"), asked.number("side")),
    "figures": lambda answers, asked: answers.figures(asked.number("row"), asked.number("side")),
    "picture": lambda answers, asked: answers.picture(
        asked.number("row"), asked.number("side"), asked.window(), asked.number("height"), asked.number("width")
    ),
    "values": lambda answers, asked: answers.values(asked.number("row"), asked.number("side"), asked.window()),
    "compare": lambda answers, asked: answers.compare(asked.number("row")),
    "download": lambda answers, asked: answers.download(asked.row(), asked.number("side"), asked.word("format")),
}
"""What may be asked, below /api/."""


def _attachment(name: str, pieces: Iterator[bytes | memoryview], *, whole: bool) -> Response:
    """Answer with a file; its first bytes are made before, so that what cannot be read is refused, where that shows soon."""
    from starlette.responses import Response, StreamingResponse

    headers = {"Content-Disposition": f'attachment; filename="{file_name(name)}"'}
    begin: list[bytes] = []
    while sum(map(len, begin)) < BEGIN and (piece := next(pieces, None)) is not None:
        begin.append(bytes(piece))
    if not whole:
        return Response(headers=headers, media_type=PACK)
    return StreamingResponse(chain(begin, map(bytes, pieces)), headers=headers, media_type=PACK)


def file_name(name: str) -> str:
    r"""Return a name that any system can give a file, and no header can be broken with.

    >>> file_name('../a\r\n"b".npy'), file_name("конв.npy")
    ('_a_b_.npy', '_.npy')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")
    return plain if len(plain) <= 120 else f"{plain[:60]}{plain[-60:]}"
