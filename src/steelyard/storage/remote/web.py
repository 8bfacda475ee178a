"""HTTP: a file is one URL, read by requests of ranges, in the version that the first answer has.

aiohttp sends the requests, on the event loop of fsspec, whose configuration gives headers and certificates. What fails for a
moment is tried again, from the byte where it broke off; a redirect is followed within the host and scheme only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from steelyard import sizes
from steelyard.errors import FileMissingError, FormatError, MissingExtraError, SteelyardError, UnsafeFileError, quoted
from steelyard.storage.remote.addresses import WHOLE, scheme_of, scrubbed, shown
from steelyard.storage.remote.spool import Spool

if TYPE_CHECKING:
    from concurrent.futures import Future

TRIES = 5  # of a range, one after another, that bring nothing new
MOST = 20  # of a range in all
PAUSE = 0.25  # seconds before another try, and twice as many after each that brings nothing new
PATIENCE = 60  # seconds that a server may ask to wait
SILENCE = 30  # seconds without a byte
SLOWEST = 20_000  # bytes a second
HOPS = 10  # redirects of one request
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
_NO_RIGHT = frozenset((401, 403, 407))
_MISSING = frozenset((404, 410))


class Web:
    """One file of an HTTP server. `size` is known after the first answer; `whole` has its bytes if the server ignores ranges."""

    __slots__ = ("_address", "_files", "_gate", "_has_ranges", "_most", "_url", "_version", "name", "size", "whole")

    def __init__(self, url: str, most: int) -> None:
        self._url = url
        self._most = most  # bytes that are kept of a file that is sent whole
        self.name = shown(url)
        self._files = _file_system(url)
        self._version: tuple[int, str, str] | None = None
        self._has_ranges = False
        self._gate: Any = None
        try:
            self._address = self._files.encode_url(url)
        except ValueError as error:
            raise FormatError(self.name, f"is not the address of a file: {scrubbed(error, url)}") from None
        self.size = 0
        self.whole: Spool | None = None

    @property
    def version(self) -> tuple[int, str, str] | None:
        """The size, ETag and date of the first answer; None where it has neither ETag nor date."""
        return self._version if self._version is not None and any(self._version[1:]) else None

    def first(self, length: int) -> bytes:
        """Return the first bytes of the file, at most `length`; raises `FileMissingError`, `FormatError` or `UnsafeFileError`."""
        return self.submit(0, length).result()

    def submit(self, start: int, stop: int) -> Future[bytes]:
        """Begin to fetch the bytes from `start` to `stop`."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(self._fetched(start, stop), self._files.loop)

    async def _fetched(self, start: int, stop: int) -> bytes:
        import asyncio

        self._gate = self._gate or asyncio.Semaphore(sizes.REMOTE_IN_FLIGHT)
        held = bytearray()
        tries = idle = 0
        while True:
            before = len(held)
            async with self._gate:
                problem, wait = await self._attempt(held, start, stop)
            if not problem:
                return bytes(held)
            tries, idle = tries + 1, idle + 1 if len(held) == before else 0
            if idle >= TRIES or tries >= MOST or wait > PATIENCE:
                asked = f", and asks to try again after {wait:,.0f} seconds" if wait > PATIENCE else f"; tried {tries} times"
                raise FormatError(self.name, f"{problem}{asked}", start + len(held))
            await asyncio.sleep(max(wait, PAUSE * 2**idle))

    async def _attempt(self, held: bytearray, start: int, stop: int) -> tuple[str, float]:
        """Add what one request brings to `held`.

        Return what went wrong, blank if all bytes are there, and the seconds that the server asks to wait.
        """
        import aiohttp

        try:
            answer = await self._answer(start + len(held), stop)
            async with answer:
                if answer.status in _AGAIN:
                    return f"the server answered {_words(answer.status)}", _asked_pause(answer.headers.get("Retry-After", ""))
                self._check(answer, start + len(held), stop)
                if answer.status == 416:  # an empty file has no first byte
                    return "", 0
                if answer.status == 200:
                    return await self._take_whole(answer, held, stop)
                await self._take(answer, held, stop - start)
        except SteelyardError:
            raise  # a missing file is an OSError too
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            if self._version is None:  # a wrong name of a host is more likely than one that is gone for a moment
                raise FormatError(self.name, f"cannot be reached: {self._said(error)}; is the address right?") from None
            return self._said(error), 0
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._said(error), 0
        wanted = min(stop, self.size) - start
        return (f"the server sent {len(held):,} of {wanted:,} bytes", 0) if len(held) < wanted else ("", 0)

    async def _answer(self, start: int, stop: int) -> Any:
        """Request a range, and follow redirects within the host."""
        import aiohttp

        session = await self._files.set_session()
        seconds = aiohttp.ClientTimeout(total=2 * SILENCE + (stop - start) / SLOWEST, sock_connect=SILENCE, sock_read=SILENCE)
        given = dict(self._files.kwargs)
        headers = {**given.pop("headers", {}), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        settings = {**given, "headers": headers, "allow_redirects": False, "timeout": seconds}
        address = self._address
        for _ in range(HOPS):
            answer = await session.get(address, **settings)
            if answer.status not in _REDIRECTS:
                return answer
            answer.release()
            address = self._followed(address, answer.headers.get("Location", ""))
        raise FormatError(self.name, f"redirects more than {HOPS} times")

    def _followed(self, address: Any, location: str) -> Any:
        from yarl import URL

        try:
            target = address.join(URL(location))
            is_within = target.origin() == address.origin()
        except ValueError:
            raise FormatError(self.name, "redirects to an address that is none") from None
        if not is_within:
            remedy = "; use hf:// for files of the Hub" if address.host == "huggingface.co" else "; pass that URL itself"
            what = f"redirects to {scrubbed(shown(str(target)), self._url)}, which is another host or scheme{remedy}"
            raise UnsafeFileError(self.name, what)
        return target

    def _check(self, answer: Any, start: int, stop: int) -> None:
        """Raise unless the answer is this range, or the whole, of the file as it was at first."""
        status = answer.status
        if status in _MISSING:
            raise FileMissingError(f"{self.name}: {_words(status)}; is the address right?")
        if status in _NO_RIGHT:
            raise FormatError(
                self.name, f"cannot be opened: {_words(status)}; does the address have all it needs, and is it valid?"
            )
        if status == 416 and self._version is None and answer.headers.get("Content-Range", "").endswith("*/0"):
            self._version = (0, "", "")
            return
        if status == 416:
            raise FormatError(self.name, f"the server has no byte {start:,}, although it gave the size {self.size:,}")
        if status not in (200, 206):
            raise FormatError(self.name, f"cannot be opened: the server answered {_words(status)}")
        if answer.headers.get("Content-Encoding", "identity") not in ("identity", ""):
            raise FormatError(
                self.name, "the server compresses the file on its way, so that ranges of it are of no use; download it"
            )
        self._check_version(answer, self._total(answer, start, stop) if status == 206 else answer.content_length or -1)

    def _total(self, answer: Any, start: int, stop: int) -> int:
        """Return the size of the file that a range is of."""
        said = answer.headers.get("Content-Range", "")
        place, slash, total = said.removeprefix("bytes ").partition("/")
        first, dash, last = place.partition("-")
        numbers = [each.strip() for each in (first, last, total)]
        if not slash or not dash or not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in numbers):
            raise FormatError(self.name, f"the server does not say which range it sends: {quoted(scrubbed(said, self._url))}")
        begin, end, size = map(int, numbers)
        if begin != start or not begin <= end < min(stop, size):
            raise FormatError(self.name, f"the server sent the bytes {begin:,} to {end + 1:,} for {start:,} to {stop:,}")
        return size

    def _check_version(self, answer: Any, size: int) -> None:
        version = size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
        if self._version is None:
            self._version, self.size = version, max(size, 0)
        elif version != self._version:
            raise FormatError(self.name, "has changed since it was opened; open it again")
        elif answer.status == 200 and self._has_ranges:
            raise FormatError(self.name, "the server sent the whole file for a range of it, which it had not done before")
        self._has_ranges = answer.status == 206

    async def _take(self, answer: Any, held: bytearray, wanted: int) -> None:
        async for chunk in answer.content.iter_any():
            held += chunk
            if len(held) > wanted:
                raise FormatError(self.name, f"the server sent more than the {wanted:,} bytes of the range")

    async def _take_whole(self, answer: Any, held: bytearray, stop: int) -> tuple[str, float]:
        """Keep the whole file, which a server sent instead of its first bytes, if that is not too much."""
        size = answer.content_length
        if (size or 0) > self._most:
            self._refuse_whole(answer, f"all {size:,} bytes")
        whole = Spool(self.name)
        async for chunk in answer.content.iter_any():
            whole.add(chunk)
            if whole.size > self._most:
                self._refuse_whole(answer, f"more than {self._most:,} bytes")
        self.size, self.whole = whole.size, whole
        held[:] = bytes(min(stop, whole.size))
        whole.fill(0, memoryview(held))
        return "", 0

    def _refuse_whole(self, answer: Any, how: str) -> NoReturn:
        answer.close()
        raise FormatError(self.name, f"the server ignores ranges, so {how} would be fetched; {WHOLE} before the URL does that")

    def _said(self, error: BaseException) -> str:
        said = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        return scrubbed(said, self._url)


def _file_system(url: str) -> Any:
    """Return fsspec's file system of a URL, with its session; environment variables give the proxies, as for other tools."""
    try:
        import aiohttp
        import fsspec
    except ImportError:
        raise MissingExtraError("a URL", "remote") from None
    del aiohttp
    given = fsspec.config.conf.get(scheme_of(url), {}).get("client_kwargs", {})
    return fsspec.filesystem(scheme_of(url), client_kwargs={"trust_env": True, **given})


def _words(status: int) -> str:
    """Return a status with its words.

    >>> _words(404), _words(599)
    ('404 Not Found', '599')
    """
    from http import HTTPStatus

    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _asked_pause(text: str) -> float:
    """Return the seconds of a header Retry-After, which has a number or a date; 0 for none.

    >>> _asked_pause("7"), _asked_pause(""), _asked_pause("Wed, 21 Oct 2015 07:28:00 GMT"), _asked_pause("soon")
    (7.0, 0.0, 0.0, 0.0)
    """
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
