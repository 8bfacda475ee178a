"""URLs as texts: what is one, what of it may be shown, and where the other files of its folder are."""

from __future__ import annotations

import re

from steelyard.errors import UnsafeFileError, printable, quoted
from steelyard.storage.source import checked_name

WEB = ("http", "https")
WHOLE = "simplecache::"
"""What stands before a URL, as for fsspec, to fetch the file whole before it is read."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://\S+")
_ROUNDS = 4  # of encoding: a proxy or two may each decode a name once
_LEAST = 6  # characters of a secret: shorter values are parts of other words
_HIDDEN = "***"
_concealed: dict[str, str] = {}
"""The URLs of this process's command line, by what is shown of them."""


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path.

    >>> is_url("https://example.org/net.safetensors"), is_url("net.safetensors"), is_url("C:/net.pt")
    (True, False, False)
    """
    scheme, mark, _ = text.removeprefix(WHOLE).partition("://")
    return bool(mark) and scheme.replace("+", "").isalnum() and len(scheme) > 1


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case."""
    return url.partition("://")[0].lower()


def shown(url: str) -> str:
    """Return what of a URL may be printed: no password, no token, no signature.

    A query after the name of a file is left out; of any other, the values are hidden.

    >>> shown("https://me:secret@example.org/net.pt?X-Amz-Signature=0123abcd")
    'https://***@example.org/net.pt'
    >>> shown("https://example.org/get?id=7"), shown("ftp://me:secret@example.org/a.npz")
    ('https://example.org/get?id=***', 'ftp://me:***@example.org/a.npz')
    """
    before, query = _parts(url)
    scheme, _, rest = before.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        user = _HIDDEN if scheme.lower().removeprefix(WHOLE) in WEB else f"{name}{colon and ':'}{_HIDDEN if colon else ''}"
    named = "." in path.rpartition("/")[2]
    hidden = "&".join(f"{each.partition('=')[0]}={_HIDDEN}" for each in query.split("&")) if query and not named else ""
    return f"{scheme}://{user}{at}{host}{slash}{path}{hidden and '?'}{hidden}"


def _parts(url: str) -> tuple[str, str]:
    """Return a URL up to its query, and the query; a fragment is sent to no server."""
    before, _, query = url.partition("#")[0].partition("?")
    return before, query


def scrubbed(text: object, url: str) -> str:
    """Return the message of a library without what may not be shown of a URL, on one line.

    >>> scrubbed("404 for https://a.org/x.pt?token=abcdefgh (abcdefgh)", "https://a.org/x.pt?token=abcdefgh")
    '404 for https://a.org/x.pt (***)'
    """
    from urllib.parse import unquote

    before, query = _parts(url)
    user = before.partition("://")[2].partition("/")[0].rpartition("@")[0]
    secrets = [user.partition(":")[2] or user, *(each.partition("=")[2] for each in query.split("&"))]
    said = str(text).replace(url, shown(url))
    for secret in sorted({each for known in secrets for each in (known, unquote(known))}, key=len, reverse=True):
        said = said.replace(secret, _HIDDEN) if len(secret) >= _LEAST else said
    return printable(said, 400)


def concealed(word: str) -> str:
    """Return a word of the command line in which each URL is what may be shown of it; `real` returns the URL itself."""
    return _URL.sub(lambda match: _conceal(match[0]), word)


def _conceal(url: str) -> str:
    mask = public = shown(url)
    count = 1
    while _concealed.get(public, url) != url:  # two URLs of which the same is shown
        count += 1
        public = f"{mask}#{count}"
    if public != url:
        _concealed[public] = url
    return public


def real(url: str) -> str:
    """Return the URL of which `concealed` has made this one; any other is returned as it is."""
    whole = WHOLE if url.startswith(WHOLE) else ""
    public = url.removeprefix(whole)
    return f"{whole}{_concealed.get(public, public)}"


def sibling(url: str, name: str) -> str:
    """Return the URL of a file in the same folder, which must not lead out of it after decoding either.

    Raises `UnsafeFileError` otherwise.
    """
    return _joined(_parts(url)[0].rpartition("/")[0], name)


def inside(url: str, name: str) -> str:
    """Return the URL of a file in a folder; raises as `sibling` does."""
    return _joined(_parts(url)[0].rstrip("/"), name)


def _joined(folder: str, name: str) -> str:
    from urllib.parse import quote, unquote

    decoded = name
    for _ in range(_ROUNDS):
        decoded = unquote(decoded)
    # some servers leave out what follows a ";" in a word of a path
    if any(mark in decoded for mark in "?#;") or unquote(decoded) != decoded:
        raise UnsafeFileError(shown(folder), f"names the file {quoted(name)}, which is not a name in a URL")
    checked_name(shown(folder), decoded)
    checked_name(shown(folder), name)
    return f"{folder}/{quote(name) if scheme_of(folder) in WEB else name}"
