"""Whether a checkpoint loads into a model: the names that are missing, unexpected or of another shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import first_of, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.wrappers import Side, Wrapping

VERSIONS = "module versions"
"""The key in `meta` of the versions of modules, other than 1, that a state dict keeps as its `_metadata`."""
NAMED = 3  # names of a kind that are printed


class Mismatch(NamedTuple):
    """A name of both sides whose shape in the checkpoint is not that in the model."""

    name: str
    checkpoint: tuple[int, ...]
    model: tuple[int, ...]


class Names(NamedTuple):
    """What loading finds: names that are missing, unexpected, of another shape, other errors, and how many names load."""

    missing: Sequence[str]
    unexpected: Sequence[str]
    shapes: Sequence[Mismatch]
    errors: Sequence[str]
    loaded: int

    @property
    def verdict(self) -> str:
        """The word "yes" if everything loads, "partly" if something does, else "no"."""
        if not (self.missing or self.unexpected or self.shapes or self.errors):
            return "yes"
        return "partly" if self.loaded else "no"

    def __str__(self) -> str:
        counts = (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.shapes, "of another shape"),
            (self.errors, "refused"),
        )
        found = ", ".join(f"{len(names):,} {word}" for names, word in counts if names)
        return f"{self.verdict}: {found}" if found else self.verdict

    def reasons(self) -> list[str]:
        """Return a sentence on each kind of name that does not load, which names the first few."""
        listed = (
            ("missing in the checkpoint", [printable(name) for name in self.missing]),
            ("unexpected by the model", [printable(name) for name in self.unexpected]),
            ("of another shape", [f"{printable(n)} {list(one)}, in the model {list(other)}" for n, one, other in self.shapes]),
            ("refused", [printable(error, 300) for error in self.errors]),
        )
        return [f"{word}: {_first(texts)}" for word, texts in listed if texts]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        shapes = [{"name": n, "checkpoint": list(one), "model": list(other)} for n, one, other in self.shapes]
        lists = {"missing": list(self.missing), "unexpected": list(self.unexpected), "shapes": shapes}
        return {"verdict": self.verdict, **lists, "errors": list(self.errors)}


class Loading:
    """Whether a checkpoint loads into a model: its `names` as they are, and `unwrapped` where they have the words of wrappers.

    `tied` has the missing names that share their numbers with a weight that loads, and the name of that weight.
    """

    __slots__ = ("_change", "names", "tied", "unwrapped")

    def __init__(
        self,
        names: Names,
        unwrapped: Names | None = None,
        wrapped: Wrapping | None = None,
        tied: Mapping[str, str] | None = None,
    ) -> None:
        self.names = names
        self.unwrapped = unwrapped
        self.tied = tied or {}
        self._change = _change(wrapped.left, wrapped.right) if wrapped else ""

    def __bool__(self) -> bool:
        return self.names.verdict == "yes"

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the verdict as one line, then the reasons, a line each."""
        if self.unwrapped is None:
            return [f"loads: {self.names}", *(f"  {reason}" for reason in (*self.names.reasons(), *self._ties()))]
        word, _, counts = str(self.unwrapped).partition(": ")
        verdict = f"loads: {self.names.verdict} as it is; {word} {self._change}{f': {counts}' if counts else ''}"
        return [verdict, *(f"  {reason}" for reason in (*self.unwrapped.reasons(), *self._ties()))]

    def _ties(self) -> list[str]:
        pairs = [f"{printable(name)} to {printable(owner)}" for name, owner in self.tied.items()]
        return [f"missing, but tied in the model to weights that load: {_first(pairs)}"] if pairs else []

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        without = {"change": self._change, **self.unwrapped.to_dict()} if self.unwrapped else None
        return {**self.names.to_dict(), "unwrapped": without, "tied": dict(self.tied)}


def compared(checkpoint: Mapping[str, tuple[int, ...]], model: Mapping[str, tuple[int, ...]]) -> Names:
    """Return what assigning weights of these names and shapes to a model would find."""
    both = [name for name in model if name in checkpoint]
    pairs = [Mismatch(name, checkpoint[name], model[name]) for name in both]
    shapes = [each for each in pairs if each.checkpoint != each.model]
    missing = [name for name in model if name not in checkpoint]
    return Names(missing, [name for name in checkpoint if name not in model], shapes, [], len(both) - len(shapes))


def unwrapped_names(checkpoint: Iterable[str], wrapped: Wrapping) -> Mapping[str, str]:
    """Return the names that the model would have for the names of a checkpoint, also for those that it does not have."""
    start = len(wrapped.left.prefix)
    made = {}
    for name in checkpoint:
        own = wrapped.names.get(name)
        if own is None:
            own = wrapped.right.prefix + name[start:] if name.startswith(wrapped.left.prefix) else name
        made[name] = own
    return made


def _change(mine: Side, theirs: Side) -> str:
    """Say how the names of the checkpoint must change."""
    words = []
    if mine.prefix and theirs.prefix:
        words.append(f"with prefix {theirs.prefix!r} instead of {mine.prefix!r}")
    elif mine.prefix or theirs.prefix:
        words.append(f"without prefix {mine.prefix!r}" if mine.prefix else f"with prefix {theirs.prefix!r}")
    words += [f"without {quoted(', '.join(mine.words))} inside names"] if mine.words else []
    words += [f"with {quoted(', '.join(theirs.words))} inside names"] if theirs.words else []
    return " and ".join(words)


def _first(texts: Sequence[str]) -> str:
    return first_of(texts, NAMED, str)
