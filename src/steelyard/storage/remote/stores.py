"""Object stores and whatever else fsspec knows: s3, gs, az, hf, ftp, memory and others, files and folders.

Credentials are those that the store's own library finds, as in its environment variables and configuration.
"""

from __future__ import annotations

from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.errors import FileMissingError, FormatError, MissingExtraError
from steelyard.storage.remote.addresses import scheme_of, scrubbed, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from queue import SimpleQueue

    _Job = tuple[Callable[[int, int], bytes], Future[bytes], int, int]

PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "wasb", "wasbs", "adl"), "adlfs"),
    "hf": "huggingface_hub",
}
"""The package that reads each scheme."""
_STAMPS = ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "generation", "md5Hash", "blob_id", "oid")
"""The keys under which file systems give the version of a file."""
CHECKED_S = 2.0  # seconds between two looks at the version of a file that is read


class Store:
    """One file or folder of a store, in the version that it had at first."""

    __slots__ = ("_checked", "_files", "_options", "_path", "_stamp", "_url", "is_folder", "name", "size")

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = shown(url)
        self._files, self._path = file_system(url)
        info = self._info()
        self._stamp = _stamp(info)
        self._checked = monotonic()
        self._options = {"cache_type": "none"} if scheme_of(url) == "hf" else {}  # its default fetches 5 MiB for 8 bytes
        self.is_folder = info.get("type") == "directory"
        self.size = int(info.get("size") or 0)

    @property
    def version(self) -> tuple[object, ...] | None:
        """What the store says of the file's version; None where that is only its size."""
        return self._stamp if any(self._stamp[1:]) else None

    def names(self) -> list[str]:
        """Return the names of the files and folders in a folder."""
        try:
            listed = self._files.ls(self._path, detail=False)
        except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
            raise self._unreachable(error) from None
        own = self._path.rstrip("/")
        return [name for each in listed if each.rstrip("/") != own and (name := each.rstrip("/").rpartition("/")[2])]

    def submit(self, start: int, stop: int) -> Future[bytes]:
        """Begin to fetch the bytes from `start` to `stop`."""
        from concurrent.futures import Future

        coming: Future[bytes] = Future()
        _workers().put((self._fetched, coming, start, stop))
        return coming

    def _fetched(self, start: int, stop: int) -> bytes:
        try:
            content = self._files.cat_file(self._path, start=start, end=stop, **self._options)
        except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
            why = scrubbed(error, self._url) or type(error).__name__
            raise FormatError(self.name, f"{why}; the bytes {start:,} to {stop:,} cannot be fetched") from None
        if len(content) != stop - start:
            raise FormatError(self.name, f"the store sent {len(content):,} bytes for a range of {stop - start:,}", start)
        if monotonic() - self._checked > CHECKED_S:
            self._require_unchanged()
        return bytes(content)

    def _require_unchanged(self) -> None:
        self._checked = monotonic()
        self._files.invalidate_cache()
        if _stamp(self._info()) != self._stamp:
            raise FormatError(self.name, "has changed since it was opened; open it again")

    def _info(self) -> dict[str, Any]:
        try:
            info: dict[str, Any] = self._files.info(self._path)
        except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
            raise self._unreachable(error) from None
        return info

    def _unreachable(self, error: Exception) -> FileMissingError | FormatError:
        why = scrubbed(error, self._url) or type(error).__name__
        if isinstance(error, ImportError):
            return FormatError(self.name, f"cannot be opened: {why}")
        if isinstance(error, FileNotFoundError):
            if error.errno or why.strip("/") in self.name:  # most stores only repeat the path
                why = "there is no such file"
            return FileMissingError(f"{self.name}: {why}; is the address right?")
        return FormatError(self.name, f"cannot be opened: {why}; is the address right, and do you have access?")


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL, and the path in it. Raises `MissingExtraError` without its package."""
    scheme = scheme_of(url)
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("a URL", "remote") from None
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        if package:
            raise MissingExtraError(f"{scheme}://", package=package) from None
        raise FormatError(shown(url), f"cannot be opened: {scrubbed(error, url)}") from None
    except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
        raise FormatError(shown(url), f"cannot be opened: {scrubbed(error, url) or type(error).__name__}") from None
    return files, path


def matching(pattern: str) -> list[str]:
    """Return the URLs of a store's files that match a pattern, sorted."""
    files, path = file_system(pattern)
    scheme = pattern.partition("://")[0]
    try:
        found = sorted(str(files.unstrip_protocol(each)) for each in files.glob(path))
    except Exception as error:  # noqa: BLE001 - each scheme raises its own kinds
        raise FormatError(shown(pattern), f"cannot be listed: {scrubbed(error, pattern) or type(error).__name__}") from None
    # a store with two schemes, such as az and abfs, gives one of them back; the user wrote the other
    is_own = scheme in ([files.protocol] if isinstance(files.protocol, str) else files.protocol)
    return [f"{scheme}://{url.partition('://')[2]}" for url in found] if is_own else found


def _stamp(info: dict[str, Any]) -> tuple[object, ...]:
    return tuple(info.get(key) for key in _STAMPS)


@cache
def _workers() -> SimpleQueue[_Job]:
    """Start the threads that fetch ranges of all stores, and return the queue of their jobs; they end with the process."""
    from queue import SimpleQueue
    from threading import Thread

    jobs: SimpleQueue[_Job] = SimpleQueue()
    for _ in range(sizes.REMOTE_IN_FLIGHT):
        Thread(target=_work, args=(jobs,), daemon=True).start()
    return jobs


def _work(jobs: SimpleQueue[_Job]) -> None:
    """Fetch one range after another."""
    while True:
        fetch, coming, start, stop = jobs.get()
        try:
            coming.set_result(fetch(start, stop))
        except BaseException as error:  # noqa: BLE001 - raised where the range is awaited
            coming.set_exception(error)
        del fetch, coming  # while the thread waits, they would keep a file in memory
