"""Write the weights of anything as arrays in the language of a device."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from steelyard.core.selection import readable
from steelyard.device import forward as forwards
from steelyard.device.elements import CHANNELS
from steelyard.device.exported import Export, Options
from steelyard.device.forward import integers, planning
from steelyard.device.forward.forward import Choices, Examples
from steelyard.device.symbols import Symbols, checked_prefix
from steelyard.device.tables import tabled
from steelyard.device.writers import SUFFIXES, writer
from steelyard.dtypes import FLOATS, SPELLINGS
from steelyard.errors import FormatError, ShapeError, meant, quoted
from steelyard.io import opened, weights
from steelyard.measures.digest import digest
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from typing import BinaryIO

    from steelyard.core.weights import Weights
    from steelyard.device.writers import Pieces, Writer

    Text = Literal["decimal", "hex", "bits", "bytes", "bin"]

BIN_THRESHOLD = 1_000_000  # numbers; more have a file of their own, unless a form is asked for
ALIGN_LIMIT = 1 << 16


def export(  # noqa: PLR0913 - each is an option, by name
    source: object,
    path: str | os.PathLike[str],
    *,
    name: str = "net",
    dtype: str | None = None,
    text: Text | None = None,
    channels: Literal["first", "last"] | None = None,
    select: str | Iterable[str] = "*",
    section: str | None = None,
    align: int | None = None,
    progmem: bool = False,
    names: bool = False,
    skip_unreadable: bool = False,
    forward: bool = False,
    probe: object = None,
    outputs: object = None,
    fold: bool | Literal["scalers"] = True,
    accumulate: Literal["float", "double"] = "float",
    libm: bool = True,
    rounding: Literal["single", "double"] | None = None,
    calibrate: Literal["minmax", "percentile", "mse"] = "minmax",
) -> Export:
    """Write the weights of a model, a file or any other source of `weights` as arrays for a device, bit for bit.

    The suffix of `path` is the language: .h, .c (with a .h), .hpp, .ino, .rs, .py (MicroPython), .bin (and .json), .csv, .json.
    A weight is one row-major array, `{name}_` and its own name in letters, digits and underscores; tied weights are one.

    `dtype` casts floats; the header states what that changed. `text` is "decimal" (9 digits, 17 of float64), "hex", "bits",
    "bytes", or "bin": a file of its own, the default above 1,000,000 numbers. Floats of 16 bits become float32, unless cast or
    written as bits; NaN and Inf are bits. `channels` puts the inputs of a kernel after its outputs ("first") or last. `section`
    and `align` (bytes) are those of each array, `progmem` is for AVR's program memory, `names` adds an array of true names.

    With `forward`, "net.c" also has `net_run`, which computes the outputs of the net in `dtype`, by default float32, and
    "net_test.c" compares them with the net's own for the examples of `probe`, else for random numbers. A file is not run: the
    net's `outputs` for the probe prove it. `fold` multiplies batch norms into kernels ("scalers": those of a pipeline too),
    `accumulate` is the type of sums, `libm=False` writes its functions too. With `dtype` "int8", or "int4" for kernels, `net_run`
    has integers: `calibrate` is how `probe` sets scales, `rounding` "single" (XNNPACK) or "double" (CMSIS-NN, TFLite).

    The same weights give the same bytes. Raises `FormatError` for another suffix, `ShapeError` for options or layers that do not
    fit, `ProofError` for other outputs than the net's, `LossyError` for a number beyond `dtype`, and `UnreadableError` unless
    `skip_unreadable` leaves such weights out. Warns with `NonFiniteWarning`, as `save` does.

    Examples:
        >>> import numpy as np, tempfile
        >>> export({"fc": {"bias": np.ones(2)}}, f"{tempfile.mkdtemp()}/net.h", name="iris").tables[0].symbol
        'iris_fc_bias'
    """
    options = Options(name, dtype, text or "", channels, section, align, progmem, names)
    choices, examples = Choices(fold, accumulate, rounding or "", calibrate, libm), Examples(probe, outputs)
    listed, used = _listed(source, select, choices, examples, forward=forward)
    if forward:
        planned = plan_forward(source, listed, os.fspath(path), options, choices, examples)
    else:
        planned = plan(readable(listed, skip_unreadable=skip_unreadable), os.fspath(path), options, source_name(source))
    write(planned, os.fspath(path), used)
    return planned


def _listed(
    source: object, select: str | Iterable[str], choices: Choices, examples: Examples, *, forward: bool
) -> tuple[Weights, set[str]]:
    """Return the weights that are exported, and the files that are read. Refuses options that the export has no use for."""
    if not forward and (choices != Choices() or any(each is not None for each in examples)):
        raise ShapeError(f"probe, outputs, {', '.join(Choices._fields)} are for forward=True; nothing was written")
    if forward and select != "*":
        raise ShapeError("a forward pass needs all weights of the net; leave out select; nothing was written")
    listed, used = opened(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else (weights(source), set())
    return listed.select(select, missing_ok=True), used


def source_name(source: object) -> str:
    """Return what a header calls a source: the name of a file without its folder, which differs between machines."""
    if not isinstance(source, (str, os.PathLike)):
        return "a model in memory"
    return os.path.basename(os.fspath(source).partition("?")[0].rstrip("/\\")) or "a folder"


def plan(listed: Weights, path: str, options: Options, source: str) -> Export:
    """Return what `write` writes, with all checks done: every number is read once. Raises as `export` does."""
    suffix = _suffix(path)
    language = writer(suffix)
    if not listed:
        raise ShapeError("there are no weights to export; nothing was written")
    total = sum(weight.size for weight in listed.distinct().values())
    options = options._replace(progmem=options.progmem or suffix == ".ino")
    options = _checked(options._replace(text=options.text or _default(language, total, options)), suffix, language)
    symbols = Symbols(options.name, language.LIMIT, language.RESERVED)
    bits = options.text == "bits" or language.TEXTS == ("bin",)
    made = tabled(listed, source, digest(listed).whole, options, symbols, bits=bits, derived=language.derived)
    return _with_files(made, path)


def plan_forward(source: object, listed: Weights, path: str, options: Options, choices: Choices, examples: Examples) -> Export:
    """Return what `write` writes of a forward pass, with all checks done. Raises as `export` does."""
    in_integers = options.dtype in integers.BITS
    suffix = _suffix(path, forwards.INTEGERS if in_integers else forwards.SUFFIXES)
    if examples.outputs is not None and examples.inputs is None:
        raise ShapeError("the outputs are those of a probe; pass the probe too; nothing was written")
    language, form = writer(suffix), forwards.integer_writer(suffix) if in_integers else forwards.writer(suffix)
    choices = choices._replace(libm=choices.libm and form.LIBM)
    planning.check(options, choices, in_integers=in_integers)
    kind, texts = options.dtype, language.TEXTS
    given = options._replace(text=options.text or texts[0], dtype=None if in_integers else kind)
    options = _checked(given, suffix, language)._replace(dtype=kind)
    symbols = Symbols(options.name, language.LIMIT, (*language.RESERVED, *form.RESERVED))
    facts = planning.Facts(source_name(source), digest(listed).whole, options, choices)
    planned = integers.planned_integers if in_integers else planning.planned_forward
    return _with_files(planned(source, examples, facts, symbols, language.derived), path)


def _with_files(planned: Export, path: str) -> Export:
    planned.files = tuple(os.path.join(os.path.dirname(path), file) for file in _pieces(planned, path))
    return planned


def _pieces(planned: Export, path: str) -> dict[str, Pieces]:
    file = os.path.basename(path)
    return planned.forward.files(planned, file) if planned.forward else writer(_suffix(path)).files(planned, file)


def _suffix(path: str, known: Iterable[str] = SUFFIXES) -> str:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in known:
        raise FormatError(path, f"has the suffix {suffix!r}, which is none of {', '.join(known)}")
    return suffix


def _default(language: Writer, total: int, options: Options) -> str:
    return "bin" if total > BIN_THRESHOLD and "bin" in language.TEXTS and not options.progmem else language.TEXTS[0]


def _checked(options: Options, suffix: str, language: Writer) -> Options:
    """Return the options, or raise `ShapeError` for the first that has no meaning in this language."""
    checked_prefix(options.name)
    wrong = next(_wrong(options, suffix, language), None)
    if wrong:
        raise ShapeError(f"{wrong}; nothing was written")
    return options


def _wrong(options: Options, suffix: str, language: Writer) -> Iterator[str]:
    dtype, text, section, align = options.dtype, options.text, options.section, options.align
    if text not in language.TEXTS:
        yield f"text is {quoted(text)}; for {suffix} it may be {', '.join(language.TEXTS)}"
    if dtype is not None and dtype not in FLOATS:
        yield f"floats cannot be cast to {quoted(dtype)}; the types are {', '.join(FLOATS)}{meant(dtype, FLOATS, SPELLINGS)}"
    if options.channels is not None and options.channels not in CHANNELS:
        yield f"channels is {quoted(options.channels)}; it must be first or last"
    if (section is not None or align is not None) and not language.PLACES:
        yield f"section and align have no meaning in {suffix}"
    if section is not None and (suffix == ".bin" or not re.fullmatch(r"[A-Za-z0-9_.$]+(,[A-Za-z0-9_.$]+)?", section)):
        yield f"section is {quoted(section)}; it must be a name such as .flash, and {suffix} must have sections"
    if align is not None and not (1 <= align <= ALIGN_LIMIT and align & (align - 1) == 0):
        yield f"align is {align}; it must be a power of 2, at most {ALIGN_LIMIT:,} bytes"
    if options.progmem and (SUFFIXES[suffix] != "c" or text == "bin"):
        yield f"progmem is for tables of numbers in C, not for {suffix} with text={text!r}"


def write(planned: Export, path: str, used: Iterable[str] = ()) -> None:
    """Write the files of an export, each of which takes its place when all are complete; `used` are those that are read."""
    kept = set(used)
    for target in planned.files:
        if os.path.realpath(target) in kept:
            raise FormatError(target, "is the file that is read; export it under another name")
    pieces = _pieces(planned, path)
    with ExitStack() as stack:
        opened_files = [stack.enter_context(replacing(target)) for target in planned.files]
        for file, content in zip(opened_files, pieces.values(), strict=True):
            _fill(file, content)


def _fill(file: BinaryIO, pieces: Pieces) -> None:
    """Write the content of a file to disk: a full disk is found before any file takes its place."""
    file.writelines(piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece for piece in pieces)
    file.flush()
    os.fsync(file.fileno())
