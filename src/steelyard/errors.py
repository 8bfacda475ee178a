"""Every error that Steelyard raises on purpose.

::

    SteelyardError
    ├── UnknownModelError   (TypeError)          an object of an unknown framework, or without weights
    ├── NotFittedError      (ValueError)         the model has no weights yet
    ├── ShapeError          (ValueError)         a length, shape, name or structure that does not fit
    │   └── OutsideError    (IndexError)         an index outside a weight
    ├── AmbiguityError      (ValueError)         more than one answer fits
    ├── ProofError          (ValueError)         two nets whose outputs should be equal are not
    ├── LossyError          (ValueError)         a number that a dtype cannot represent
    ├── ReadOnlyError       (TypeError)          these weights cannot be written to
    ├── OperandError        (TypeError)          an operator that does not apply to weights
    ├── UnreadableError     (ValueError)         weights are listed whose numbers cannot be given
    ├── WeightNotFoundError (KeyError)           an unknown name of a weight
    ├── FileMissingError    (FileNotFoundError)  a missing file
    ├── FormatError         (ValueError)         a file that is damaged or of an unknown format
    │   └── UnsafeFileError                      a file that tries to run code or to leave its folder
    └── MissingExtraError   (ImportError)        an optional library is not installed

    SteelyardWarning        (UserWarning)
    ├── NonFiniteWarning                         a weight holds NaN or Inf
    ├── StaleWarning                             a file keeps results that were computed with its old weights
    ├── LeftOutWarning                           an operation left out weights that cannot be read
    ├── TieLostWarning                           a format cannot hold that weights are tied
    ├── RemoteWarning                            a file at a URL takes many requests, or is fetched whole
    ├── IncompleteWarning                        a file is a part of a model, or the model's other files are missing
    ├── EmptySelectionWarning                    no weight matches a selection
    ├── RecordingWarning                         recording a run stopped, as on a full disk, and training goes on
    └── MixedDtypeWarning                        integers, such as a counter, turn a vector of floats into a longer type

Each message is one line: what was found, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from steelyard.auditing import Audit


Item = TypeVar("Item")


def printable(text: object, limit: int = 200) -> str:
    r"""Return `text` on one line, with every control character written as an escape.

    Names inside files are hostile input: control characters, bidirectional marks and lone surrogates
    become ``\uXXXX``, and a text of more than `limit` characters is shortened in the middle.

    Examples:
        >>> print(printable("fc\x1b[31m.weight"))
        fc\u001b[31m.weight
    """
    shown = str(text)
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in shown)
    half = limit // 2
    return shown if len(shown) <= limit else f"{shown[:half]}...{shown[-half:]}"


def quoted(text: object, limit: int = 200) -> str:
    r"""Return `text` as `printable` shows it, in quotes; `repr` of it would write each escape with two backslashes.

    Examples:
        >>> print(quoted("fc\u202e"), quoted("it's"))
        'fc\u202e' "it's"
    """
    shown = printable(text, limit)
    mark = '"' if "'" in shown and '"' not in shown else "'"
    return f"{mark}{shown}{mark}"


def first_of(items: Sequence[Item], most: int, say: Callable[[Item], str] = printable) -> str:
    """Return at most so many of some items as `say` shows them, and how many more there are.

    Examples:
        >>> first_of(["a", "b"], 2), first_of(["a", "b", "c", "d"], 2), first_of(["a", "b"], 1, quoted)
        ('a, b', 'a, b and 2 more', "'a' and 1 more")
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return f"{', '.join(map(say, items[:most]))}{more}"


NEAR = 0.5
"""The similarity, as difflib counts it, from which a word may have been meant."""
NEARER = 0.1
"""A word is not suggested if another is more similar by more than this."""


def meant(word: object, known: Iterable[str], others: Mapping[str, str] | None = None, *, least: float = NEAR) -> str:
    """Return the end of a message that suggests the nearest known words, at most three; blank if none is near.

    `others` are further spellings, each with the known word for it; `least` is the similarity, from 0 to 1, of a near word.
    Hyphens in front, which all options share, do not make words similar.

    Examples:
        >>> meant("kernl", ["kernel", "bias"]), meant("fp16", ["float16", "float32"], {"fp16": "float16"}), meant("x", ["bias"])
        ("; did you mean 'kernel'?", "; did you mean 'float16'?", '')
    """
    from difflib import SequenceMatcher, get_close_matches  # imported here, since at the top it would slow down every command

    text, bare = str(word).lstrip("-"), {each.lstrip("-"): each for each in known}
    if others and (other := others.get(text.lower())):
        return f"; did you mean {other!r}?"
    near = [each for each in bare if each.lower() == text.lower()] or get_close_matches(text, bare, 3, least)
    similar = {each: SequenceMatcher(None, each, text).ratio() for each in sorted(near, key=[*bare].index)}
    least = max(similar.values(), default=0) - NEARER
    nearest = [bare[each] for each in sorted(similar, key=similar.__getitem__, reverse=True) if similar[each] >= least]
    return f"; did you mean {' or '.join(quoted(each) for each in nearest[:3])}?" if near else ""


class SteelyardError(Exception):
    """The base of every error below; its message is one line: what was found, where, and what to do."""


class UnknownModelError(SteelyardError, TypeError):
    """The object is of an unknown framework, or of a kind without weights."""


class NotFittedError(SteelyardError, ValueError):
    """The model has no weights yet: it was not fitted, initialised or built."""


class ShapeError(SteelyardError, ValueError):
    """A length, a shape, a name or a structure does not fit; nothing was written."""


class OutsideError(ShapeError, IndexError):
    """An index is outside the weight."""


class AmbiguityError(SteelyardError, ValueError):
    """More than one answer fits; the message lists them and explains how to choose."""


class ProofError(SteelyardError, ValueError):
    """The outputs of two nets that should be equal differ; the target is unchanged."""


class LossyError(SteelyardError, ValueError):
    """A dtype cannot represent a number; nothing was written."""


class ReadOnlyError(SteelyardError, TypeError):
    """These weights cannot be written to."""


class OperandError(SteelyardError, TypeError):
    """An operator does not apply to these operands; the message names the function that does what may be meant."""


class UnreadableError(SteelyardError, ValueError):
    """Weights are listed whose numbers cannot be given; the message names them, and why."""


class WeightNotFoundError(SteelyardError, KeyError):
    """No weight, or no layer, has this name; the message suggests the nearest ones."""

    def __init__(self, name: object, known: Iterable[str], what: str = "weight", way: str = "") -> None:
        super().__init__(f"no {what} is called {quoted(name)}{way or meant(name, known)}")

    def __str__(self) -> str:  # a KeyError prints the repr of its argument
        return str(self.args[0])


def way_below(name: object, known: Iterable[str]) -> str:
    """Return the end of a sentence that tells how to select the weights below a name; blank if there are none.

    >>> way_below("fc1", ["fc1.weight", "fc1.bias"]), way_below("fc1", ["fc10.weight"])
    ("; select('fc1.*') has those below it", '')
    """
    mark = next((mark for mark in "./" if any(each.startswith(f"{name}{mark}") for each in known)), "") if name else ""
    return f"; select({quoted(f'{name}{mark}*')}) has those below it" if mark else ""


class FileMissingError(SteelyardError, FileNotFoundError):
    """The file is missing, or it is not a regular file."""


class FormatError(SteelyardError, ValueError):
    """A file is damaged, ambiguous or of an unknown format; `file` and `offset` locate the problem.

    `audit` is what loading the file would run, if `steelyard.weights` has looked for that; None otherwise.
    """

    def __init__(self, file: str, what: str, offset: int | None = None) -> None:
        place = "" if offset is None else f" (at byte {offset:,})"
        super().__init__(f"{printable(file)}: {printable(what, 600)}{place}")
        self.file = file
        self.offset = offset
        self.audit: Audit | None = None


def cut_off(file: str, size: int, whole: int) -> FormatError:
    """Return the error for a file of `size` bytes that says of itself that it has `whole` bytes.

    >>> print(cut_off("net.h5", 400, 1000))
    net.h5: is cut off after 40 %: it has 400 of 1,000 bytes (partial download?)
    """
    return FormatError(file, f"is cut off after {100 * size // whole} %: it has {size:,} of {whole:,} bytes (partial download?)")


class UnsafeFileError(FormatError):
    """A file tries to run code, or to make its reader leave the file's own folder."""


class MissingExtraError(SteelyardError, ImportError):
    """An optional library is not installed; the message is the command that installs it."""

    def __init__(self, what: str, extra: str = "", *, package: str = "") -> None:
        install = f"a package: pip install {package}" if package else f'an extra: pip install "steelyard[{extra}]"'
        super().__init__(f"{what} needs {install}")


class SteelyardWarning(UserWarning):
    """The base of every warning below; its message is one line."""


class NonFiniteWarning(SteelyardWarning):
    """A weight holds NaN or Inf; the message has its name, their number, and the place of the first."""


class StaleWarning(SteelyardWarning):
    """A file was written with new weights, but keeps results that were computed with the old ones."""


class LeftOutWarning(SteelyardWarning):
    """Weights that cannot be read, or files beside the model of a folder, were left out; the message names them and says why."""


class TieLostWarning(SteelyardWarning):
    """A format cannot hold the fact that weights are tied, so a file has the numbers of each; the message names them."""


class RemoteWarning(SteelyardWarning):
    """A file at a URL takes many requests to list, or its server sends it whole; the message says how much that is."""


class IncompleteWarning(SteelyardWarning):
    """A file is a part of a model, or other files of the model are missing; the message names them."""


class EmptySelectionWarning(SteelyardWarning):
    """No weight matches a selection."""


class RecordingWarning(SteelyardWarning):
    """Recording a run stopped, as on a full disk; training goes on, and what was recorded stays."""


class MixedDtypeWarning(SteelyardWarning):
    """Integers, such as a counter of batches, turn a vector of floats into a longer type."""
