r"""Names of arrays: every weight has one that is valid, short and unique in each language.

The rules, in order: a prefix; letters, digits and single underscores of ASCII only; where a linker may look at 31 characters,
the last words that fit; ``_2``, ``_3`` ... where an earlier weight has the name already. Names that differ only in case count
as equal, since macros and Rust's statics are written in capitals. True names go into comments and strings, escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from steelyard.errors import ShapeError, quoted

PREFIX_LIMIT = 15
"""Maximum characters of a prefix: half of what a linker looks at."""
TRUE_NAME_LIMIT = 2000
"""Maximum characters of a name in a comment."""


def checked_prefix(prefix: str) -> str:
    """Return a prefix of symbols; raises `ShapeError` unless it is a short name of ASCII letters, digits and underscores."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix, re.ASCII) or len(prefix) > PREFIX_LIMIT or "__" in f"{prefix}_":
        raise ShapeError(
            f"name is {quoted(prefix)}; it must be a letter and at most {PREFIX_LIMIT - 1} more letters, digits and "
            "single underscores, since every symbol begins with it"
        )
    return prefix


class Symbols:
    """Gives every weight its symbol; `limit` is the number of characters that the language's linkers look at.

    >>> symbols = Symbols("net")
    >>> symbols.of("a.b"), symbols.of("a_b"), symbols.of("Größe/kernel"), symbols.of("0.weight"), symbols.of("*/")
    ('net_a_b', 'net_a_b_2', 'net_Gr_e_kernel', 'net_0_weight', 'net_unnamed')
    >>> Symbols("net", 31).of("encoder.layers.0.self_attn.q_proj.weight")
    'net_0_self_attn_q_proj_weight'
    """

    __slots__ = ("_limit", "_next", "_prefix", "_taken")

    def __init__(self, prefix: str, limit: int | None = None, reserved: Iterable[str] = ()) -> None:
        self._prefix = prefix
        self._limit = limit
        self._taken = {f"{prefix}_{word}".lower() for word in reserved}
        self._next: dict[str, int] = {}

    def of(self, name: str, derived: Iterable[str] = ()) -> str:
        """Return a new symbol for a weight; no other has it, nor it with one of the `derived` endings, such as "_size"."""
        endings = ["", *derived]
        words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "unnamed"
        first = symbol = self._cut(words)
        number = self._next.get(first.lower(), 2)  # thousands of equal names take no square of thousands of tries
        while any(f"{symbol}{ending}".lower() in self._taken for ending in endings):
            symbol, number = self._cut(words, f"_{number}"), number + 1
        self._next[first.lower()] = number
        self._taken.update(f"{symbol}{ending}".lower() for ending in endings)
        return symbol

    def _cut(self, words: str, ending: str = "") -> str:
        room = len(words) if self._limit is None else self._limit - len(self._prefix) - 1 - len(ending)
        if len(words) > room:
            words = words[-room:] if words[-room - 1] == "_" else words[-room:].partition("_")[2] or words[-room:]
        return f"{self._prefix}_{words.strip('_')}{ending}"


def in_comment(name: object) -> str:
    r"""Return a text for a comment of any language: on one line of ASCII, and ending no comment.

    >>> print(in_comment('*/ main(){}/*'), in_comment("Größe"), in_comment("a\\\n#b"), in_comment("??/"))
    *\x2f main(){}\x2f* Gr\xf6\xdfe a\\\n#b ?\x3f/
    """
    text = str(name)
    half = TRUE_NAME_LIMIT // 2
    text = text if len(text) <= TRUE_NAME_LIMIT else f"{text[:half]}...{text[-half:]}"
    plain = text.encode("unicode_escape").decode("ascii")
    return plain.replace("*/", r"*\x2f").replace("/*", r"\x2f*").replace("??", r"?\x3f")


def in_string(name: str) -> str:
    r"""Return the inside of a string literal of C with the UTF-8 bytes of a name.

    >>> print(in_string('a"b'), in_string("ö"))
    a\042b \303\266
    """
    return "".join(_byte(byte) for byte in name.encode("utf-8", "surrogatepass"))


def _byte(byte: int) -> str:
    # octal, since an escape in hexadecimal takes in the digits after it; the question mark could begin a trigraph
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
