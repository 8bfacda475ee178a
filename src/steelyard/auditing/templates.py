"""Chat templates in Jinja: whatever a renderer without a sandbox would reach, import or call, and text that is hidden in them.

A renderer calls what it finds, and any object leads to Python's internals by its attributes with underscores. Strings that
are built from parts are put together before they are judged: 'a' ~ 'b', 'a' 'b', '%s' % 'a', 'a' * 2, 'ba'[::-1], 'x'|format.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.jinja import BEGIN, END, NAME, NUMBER, OPERATOR, STRING, TEXT, Token, tokens
from steelyard.auditing.names import words
from steelyard.codecs import limits
from steelyard.errors import printable, quoted

if TYPE_CHECKING:
    from steelyard.auditing.findings import Place

_INTERNAL = (
    "class|mro|bases?|subclasses|globals|builtins?|import|init|new|dict|code|func|self|closure|reduce(?:_ex)?|module|name"
    "|qualname|call|getattr(?:ibute)?|getitem|setattr|delattr|loader|spec|doc|wrapped|defaults|annotations|enter|exit|dir"
    "|format|str|repr|weakref|slots|traceback|context|frame|cause|prepare|file|init_subclass|subclasshook|class_getitem"
)
_DUNDER = re.compile(
    rf"__(?:{_INTERNAL})__|__(?:class|mro|base|subclasses|globals|builtins|import|init|code|dict)|_TemplateReference",
    re.IGNORECASE,
)
_PYTHON = "class|mro|bases?|subclasses|globals|builtins|import|init|getattribute|getitem"
_MASKED = re.compile(rf"([^\w\s]|[XxZz0-9])\1(?:{_PYTHON})\1\1|(?:%[cs]|\{{\d*\}}){{1,2}}(?:{_PYTHON})(?:%[cs]|\{{\d*\}})")
"""Names whose underscores a later step puts in."""
_LONGEST = 1 << 17  # characters of a template: the longest known has a third of this
_FOLDED = 4096  # characters of strings that are put together
_FRAGMENT = re.compile(
    r"(?:class|mro|bases?|subclasses|globals|builtins|import|init|getitem|getattribute|dict|code)", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"%s|%c|\{\d*\}")
_CALLED = words(
    """
    popen system eval exec compile execfile check_output check_call Popen getoutput getstatusoutput spawn fork execve execv
    open read readlines write urlopen urlretrieve connect import_module load_module exec_module find_spec run_path
    """
)
"""Methods that no template needs to call."""
_REACHED = words(
    """
    os subprocess builtins sys socket importlib shutil pathlib ctypes globals mro subclasses popen environ modules
    func_globals func_code gi_frame gi_code gi_yieldfrom cr_frame cr_code cr_await ag_frame ag_code f_globals f_locals
    f_builtins f_back f_code tb_frame tb_next im_func im_class co_code undefined_instance
    """
)
"""Attributes that lead to modules and frames."""
_GLOBALS = frozenset(("lipsum", "cycler", "joiner", "namespace", "self", "config", "request", "url_for", "get_flashed_messages"))
_GLOBALS |= frozenset(("raise_exception", "strftime_now", "caller"))
"""Objects of renderers; calling them is usual, their attributes lead to the internals of their module."""
_LOADING = frozenset(("import", "include", "from", "extends"))
_BY_ATTRIBUTE = frozenset(("map", "groupby", "sort", "sum", "min", "max", "unique", "selectattr", "rejectattr"))
_SCRIPT = re.compile(r"<\s*/?\s*(?:script|iframe|object|embed)\b|javascript\s*:|\bon(?:error|load|click)\s*=", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:https?|ftp|wss?)://[^\s'\"<>]+", re.IGNORECASE)
_OPEN_ADDRESS = re.compile(r"\b(?:https?|ftp|wss?)://[^\s'\"<>)]*\Z", re.IGNORECASE)
_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+)?(?:the\s+)?(?:previous|prior|above|earlier|user'?s?)\s+"
    r"(?:instructions?|prompts?|messages?|rules)",
    re.IGNORECASE,
)
_TRIGGER = re.compile(r"[^\W\d_][^\W\d_' -]{2,}")
_ITEMS = words(
    """
    text type role name image images image_url video video_url audio audio_url input_audio think thinking reasoning tool tools
    content function arguments citations documents document file url data value parts tool_calls refusal input_text
    input_image
    """
)
"""Words for the parts of a message, for which templates look in its content."""


def is_template(text: str) -> bool:
    """Whether a text has tags of Jinja."""
    return "{{" in text or "{%" in text


def judged(template: str, place: Place) -> Iterator[AuditFinding]:
    """Yield a finding for each kind of thing that a template does and need not do."""
    if len(template) > _LONGEST:
        yield AuditFinding("not-looked-into", str(place), f"has a template of {len(template):,} characters")
        return
    known: set[tuple[str, str]] = set()
    for rule, what in _judged([*tokens(template)]):
        if (rule, what) not in known and len(known) < limits.FINDINGS:
            known.add((rule, what))
            yield AuditFinding(rule, str(place), what)


def _judged(listed: list[Token]) -> Iterator[tuple[str, str]]:
    folded = _folded(listed)
    owned = _owned(folded)
    padded = [Token(TEXT, ""), *folded, Token(TEXT, ""), Token(TEXT, ""), Token(TEXT, "")]
    for at in range(1, len(folded) + 1):
        before, token, after = padded[at - 1], padded[at], padded[at + 1]
        if token.kind == NAME:
            yield from _name(before, token.text, after, owned)
            if before == Token(OPERATOR, "|"):
                yield from _filter(token.text, padded[at + 1 : at + 12])
        elif token.kind == STRING:
            yield from _string(token.text, padded[at + 1 : at + 12])
            if before == Token(OPERATOR, "[") and token.text in _REACHED:
                yield "template-internals", f"reaches {quoted(token.text)}, an internal of Python"
        elif token.kind == TEXT:
            yield from _text(token.text, after)
    yield from _parts(folded)
    for token in _folded(_with_constants(folded)):
        if token.kind == STRING and _DUNDER.search(token.text):
            yield "template-internals", f"makes the string {quoted(token.text, 100)} from parts, an internal of Python"


def _with_constants(folded: Sequence[Token]) -> list[Token]:
    """Return the tokens with the names of constant strings replaced by the strings."""
    constants: dict[str, str] = {}
    for first, name, equals, value, end in zip(folded, folded[1:], folded[2:], folded[3:], folded[4:], strict=False):
        if first == Token(NAME, "set") and equals.text == "=" and value.kind == STRING and end.kind == END:
            constants.setdefault(name.text, value.text)
    made = []
    for before, token in pairwise([Token(TEXT, ""), *folded]):
        is_constant = token.kind == NAME and token.text in constants and before.text not in (".", "set", "|")
        made.append(Token(STRING, constants[token.text]) if is_constant else token)
    return made


def _owned(folded: Sequence[Token]) -> set[str]:
    """Return the names that the template itself gives to values."""
    owned: set[str] = set()
    gives = False
    for before, token in pairwise(folded):
        if before.kind == BEGIN and token.text in ("set", "for", "macro", "with"):
            gives = True
        elif token.kind == END or token.text == "in" or (token.text == "=" and before.kind == NAME):
            gives = gives and token.text == "=" and before.text not in owned
            owned.add(before.text)
        elif gives and token.kind == NAME:
            owned.add(token.text)
    return owned


def _name(before: Token, raw: str, after: Token, owned: set[str]) -> Iterator[tuple[str, str]]:
    name = unicodedata.normalize("NFKC", raw)  # as Python does, which runs the compiled template
    is_attribute = before == Token(OPERATOR, ".")
    if (is_attribute and name.startswith("_")) or _DUNDER.search(name):
        yield "template-internals", f"reaches {printable(name)}, an internal of Python"
    elif is_attribute and (name in _REACHED - {"os", "sys", "modules", "globals", "environ"} or name in ("environ", "modules")):
        yield "template-internals", f"reaches .{printable(name)}, which leads to modules of Python"
    elif name in _CALLED and after == Token(OPERATOR, "(") and (is_attribute or name in ("eval", "exec", "open", "compile")):
        yield "template-call", f"calls {printable(name)}"
    elif name in ("__import__", "popen", "subprocess", "os") and after.text in (".", "("):
        yield "template-call", f"uses {printable(name)}"
    elif name in _LOADING and before.kind == BEGIN and before.text == "{%":
        yield "template-import", f"loads another template by {name}"
    elif before == Token(BEGIN, "{%") and name == "debug":
        yield "template-internals", "prints the variables of the renderer"
    elif name in _GLOBALS - owned and not is_attribute and after.text in (".", "[", "|") and after.kind == OPERATOR:
        yield "template-internals", f"reaches into {name}, an object of the renderer"


def _filter(name: str, after: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Judge a filter that takes the names of attributes."""
    named = [token for token in _arguments(after) if token.kind in (STRING, NAME)]
    strings = [token.text for token in named if token.kind == STRING]
    if name == "attr" and not (strings and len(named) == 1):
        yield "template-filter", "takes an attribute whose name it computes"
    for text in strings:
        if name in ("attr", *_BY_ATTRIBUTE) and _leads_inside(text):
            yield "template-filter", f"takes the attribute {quoted(text)} by the filter {name}"
    if name in ("map", "selectattr", "rejectattr") and "attr" in strings:
        yield "template-filter", f"takes attributes by the filter attr, through {name}"


def _arguments(after: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens up to the bracket that closes."""
    if not after or after[0] != Token(OPERATOR, "("):
        return
    for token in after[1:]:
        if token in (Token(OPERATOR, ")"), Token(END, "}}"), Token(END, "%}")):
            return
        yield token


def _leads_inside(text: str) -> bool:
    return any(word.startswith("_") or word in _REACHED for word in text.split("."))


def _string(text: str, after: Sequence[Token]) -> Iterator[tuple[str, str]]:
    if _DUNDER.search(text) or _DUNDER.search(text[::-1]):
        yield "template-internals", f"has the string {quoted(text, 100)}, an internal of Python"
    elif _MASKED.search(text):
        yield "template-internals", f"has the string {quoted(text, 100)}, a name of Python without its underscores"
    elif text in ("popen", "subprocess", "os.popen", "os.system") or "__import__" in text:
        yield "template-call", f"has the string {quoted(text, 100)}"
    else:
        yield from _text(text, after[0])
    if _is_trigger(text, after):
        yield "template-hidden-text", f"depends on the word {quoted(text, 60)} in what a user writes"


def _is_trigger(word: str, after: Sequence[Token]) -> bool:
    """Whether the content of a message is searched for an ordinary word."""
    if not _TRIGGER.fullmatch(word.strip()) or word.strip().lower() in _ITEMS or after[0] != Token(NAME, "in"):
        return False
    searched = []
    for token in after[1:]:
        if token.kind == END or token.text in ("and", "or", "else", ")", "}"):
            break
        searched.append(token.text)
    return any("content" in text.lower() or text in ("prompt", "query", "user_message") for text in searched)


def _text(text: str, after: Token) -> Iterator[tuple[str, str]]:
    continues = after == Token(BEGIN, "{{") or after.text in ("~", "+")
    if match := _ORDER.search(text):
        yield "template-hidden-text", f"writes {quoted(match[0], 60)}, an order to the model"
    elif continues and (match := _OPEN_ADDRESS.search(text)):
        yield "template-hidden-text", f"writes the address {printable(match[0], 200)}, which it completes with what it is given"
    elif match := _SCRIPT.search(text):
        yield "template-hidden-text", f"writes {quoted(match[0])}, code for a browser, into what a model reads"
    elif match := _ADDRESS.search(text):
        yield "template-address", f"writes the address {printable(match[0], 200)} into what a model reads"


def _parts(folded: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Find names that are built from parts which could not be put together here."""
    strings = [_PLACEHOLDER.sub("", token.text).strip() for token in folded if token.kind == STRING]
    has_line = any(text and not text.strip("_") for text in strings)
    shown = [token.text for token in folded]
    calls = (at for at in range(len(shown)) if shown[at : at + 2] == ["dict", "("])
    if any(("|", "join") in pairwise(shown[at : at + 30]) for at in calls):
        yield "template-filter", "joins the keys of a dict, which makes names without strings"
    fragments = [text for text in strings if _FRAGMENT.fullmatch(text.strip("_")) or _FRAGMENT.fullmatch(text.strip("_")[::-1])]
    if has_line and fragments:
        yield "template-internals", f"has underscores and the word {quoted(fragments[0], 60)}, parts of a name of Python"
    for first, second, third, fourth in zip(folded, folded[1:], folded[2:], folded[3:], strict=False):
        if [first.text, second.text, third.text, fourth.text] == ["|", "string", "|", "list"] and first.kind == OPERATOR:
            yield "template-internals", "takes single letters from the text of an object"


def _folded(listed: Sequence[Token]) -> list[Token]:
    """Return the tokens with constant strings put together."""
    made: list[Token] = []
    for token in listed:
        made.append(token)
        while _reduced(made):
            pass
    return made


def _reduced(made: list[Token]) -> bool:
    """Put the last tokens together, if they are a constant string."""
    kinds, words = [token.kind for token in made[-7:]], [token.text for token in made[-7:]]
    if sum(map(len, words[-3:])) > _FOLDED:
        return False
    if kinds[-2:] == [STRING, STRING]:
        made[-2:] = [Token(STRING, words[-2] + words[-1])]
    elif kinds[-3:] == [STRING, OPERATOR, STRING] and words[-2] in ("~", "+"):
        made[-3:] = [Token(STRING, words[-3] + words[-1])]
    elif kinds[-3:] == [STRING, OPERATOR, STRING] and words[-2] == "%" and words[-3].count("%s") == 1:
        made[-3:] = [Token(STRING, words[-3].replace("%s", words[-1]))]
    elif kinds[-3:] == [STRING, OPERATOR, NUMBER] and words[-2] == "*" and len(words[-1]) < 3:
        made[-3:] = [Token(STRING, (words[-3] * int(words[-1]))[:_FOLDED] if words[-1].isdigit() else words[-3])]
    elif kinds[-3:] == [OPERATOR, STRING, OPERATOR] and words[-3] == "(" and words[-1] == ")" and kinds[-4:-3] != [NAME]:
        made[-3:] = [made[-2]]
    elif kinds[-3:] == [STRING, OPERATOR, NAME] and words[-2] == "|" and words[-1] in ("reverse", "lower", "trim", "string"):
        made[-3:] = [Token(STRING, _filtered(words[-3], words[-1]))]
    elif words[-3:] == ["]", "|", "join"] and kinds[-3] == OPERATOR and (joined := _joined(made)):
        del made[-joined[0] :]
        made.append(Token(STRING, joined[1]))
    elif words[-7:] == [words[0], "[", ":", ":", "-", "1", "]"] and kinds[0] == STRING:
        made[-7:] = [Token(STRING, words[0][::-1])]
    else:
        return False
    return True


def _joined(made: Sequence[Token]) -> tuple[int, str] | None:
    """Return the number of the last tokens that are a list of strings and the filter join, and the joined string."""
    parts: list[str] = []
    for count, token in enumerate(reversed(made[:-3]), 4):
        if token == Token(OPERATOR, "["):
            return (count, "".join(reversed(parts))) if parts else None
        if token.kind == STRING:
            parts.append(token.text)
        elif token.text != ",":
            return None
    return None


def _filtered(text: str, name: str) -> str:
    return {"reverse": text[::-1], "lower": text.lower(), "trim": text.strip(), "string": text}[name]
