"""The texts of an R serialization, each with a flag for its encoding."""

from __future__ import annotations

from steelyard.errors import FormatError

CHARSXP = 9
"""The type code of a text, which in R is always an element of a character vector or a name, never a separate object."""
TEXT_COST = 150  # bytes of overhead in memory for a text

# bits of the flags of a text; none of them: the native encoding of the session
_BYTES, _LATIN1, _UTF8, _ASCII = 2 << 12, 4 << 12, 8 << 12, 64 << 12

_ENCODINGS = {
    **dict.fromkeys(("UTF-8", "UTF8", "ASCII", "US-ASCII", "ANSI_X3.4-1968"), "utf-8"),
    **dict.fromkeys(("ISO-8859-1", "ISO8859-1", "LATIN1"), "latin-1"),
    **{f"{name}-{n}": f"iso8859-{n}" for name in ("ISO-8859", "ISO8859") for n in (*range(2, 12), *range(13, 17))},
    **{f"{name}{n}": f"cp{n}" for name in ("CP", "WINDOWS-") for n in range(1250, 1259)},
    **dict.fromkeys(("CP932", "SHIFT_JIS", "SJIS"), "cp932"),
    **dict.fromkeys(("CP936", "GBK", "GB2312", "GB18030"), "gb18030"),
    **dict.fromkeys(("CP949", "EUC-KR", "EUCKR"), "cp949"),
    **dict.fromkeys(("CP950", "BIG5", "BIG-5"), "cp950"),
    **dict.fromkeys(("EUC-JP", "EUCJP"), "euc-jp"),
    "KOI8-R": "koi8-r",
}
"""R's names for native encodings. Only these reach Python's codec look-up, which imports modules by name."""


def native_encoding(name: bytes) -> str:
    """Return Python's name for the native encoding of the session that wrote a file; UTF-8 if it is unknown."""
    return _ENCODINGS.get(name.decode("ascii", "replace").upper(), "utf-8")


def decoded(flags: int, data: bytes, native: str) -> str:
    """Decode a text; bytes that are invalid in its encoding become lone surrogates, which `printable` shows."""
    if flags & (_ASCII | _UTF8):
        return data.decode("utf-8", "surrogateescape")
    if flags & _LATIN1:
        return data.decode("latin-1")
    if flags & _BYTES:
        return data.decode("ascii", "surrogateescape")
    try:
        return data.decode(native)
    except ValueError:
        return data.decode("ascii", "surrogateescape")


def check_size(file: str, size: int, offset: int) -> None:
    """Raise `FormatError` unless `size` is that of a text in bytes, or -1 for NA."""
    if size < -1:
        raise FormatError(file, f"claims a text of {size:,} bytes", offset)


def check_text(file: str, flags: int, offset: int) -> None:
    """Raise `FormatError` unless `flags` are those of a text without attributes."""
    if flags & 0xFF != CHARSXP or flags & 0x200:
        raise FormatError(file, f"holds an item of type {flags & 0xFF} where a text is expected", offset)
