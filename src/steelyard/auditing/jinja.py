"""The tokens of a Jinja template: its text, and the names, strings and operators in its tags. Nothing is rendered.

{{ expression }}   {% statement %}   {# comment #}   {% raw %} text {% endraw %}
a string is in single or double quotes, with the escapes of Python
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

TEXT, NAME, STRING, NUMBER, OPERATOR, BEGIN, END = "text", "name", "string", "number", "operator", "begin", "end"

_TAG = re.compile(r"\{\{[-+]?|\{%[-+]?|\{#")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}(.*?)\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?(?:#\}|\Z)", re.DOTALL)
_TOKEN = re.compile(
    r"""
    (?P<end>[-+]?(?:\}\}|%\}))
    | (?P<string>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
    | (?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<name>[\w\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f]+)
    | (?P<space>\s+)
    | (?P<operator>\*\*|//|==|!=|>=|<=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|[0-7]{1,3}|\n|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "\n": ""}


class Token(NamedTuple):
    """A token: its kind, and its text; of a string the decoded one, of BEGIN and END the mark of the tag."""

    kind: str
    text: str


def tokens(template: str) -> Iterator[Token]:
    r"""Yield the tokens; a tag that is not closed ends with the template.

    >>> [token.text for token in tokens(r"a{{ x['\x5fb'] }}")]
    ['a', '{{', 'x', '[', '_b', ']', '}}']
    """
    at, last_raw = 0, template.rfind("endraw")
    while at < len(template):
        tag = _TAG.search(template, at)
        if tag is None:
            yield Token(TEXT, template[at:])
            return
        if tag.start() > at:
            yield Token(TEXT, template[at : tag.start()])
        raw = _RAW.match(template, tag.start()) if tag.start() < last_raw else None
        if tag[0] == "{#":
            comment = _COMMENT.match(template, tag.start())
            at = comment.end() if comment else len(template)
        elif raw:
            yield Token(TEXT, raw[1])
            at = raw.end()
        else:
            yield Token(BEGIN, tag[0][:2])
            at = yield from _inside(template, tag.end())


def _inside(template: str, at: int) -> Generator[Token, None, int]:
    """Yield the tokens of a tag, and return where it ends."""
    while at < len(template):
        match = _TOKEN.match(template, at)
        if match is None:
            at += 1
            continue
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "string":
            yield Token(STRING, unescaped(match[0][1:-1]))
        elif kind == "end":
            yield Token(END, match[0][-2:])
            return at
        elif kind != "space":
            yield Token(kind, match[0])
    return at


def unescaped(text: str) -> str:
    r"""Return a string without its escapes.

    >>> unescaped(r"\x5f\u005f\137\n")
    '___\n'
    """
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU":
        value = int(code[1:], 16) if len(code) > 1 else -1
        return chr(value) if 0 <= value < 0x110000 else match[0]
    if code[0] == "N" and len(code) > 2:
        import unicodedata

        try:
            return unicodedata.lookup(code[2:-1])
        except KeyError:
            return match[0]
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _LETTERS.get(code, code)
