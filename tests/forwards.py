"""Exports of forward passes of programs that no framework made."""

import re

from steelyard.device import forward as forwards
from steelyard.device.export import write
from steelyard.device.exported import Options
from steelyard.device.forward import planning
from steelyard.device.forward.forward import Choices
from steelyard.device.symbols import Symbols
from steelyard.device.writers import writer


def exported(program, probe, path, *, accumulate="float", **options):
    """Write the forward pass of a program with its test, and return the export."""
    language, form = writer(path.suffix), forwards.writer(path.suffix)
    known = Options(**{"text": language.TEXTS[0], **options})
    symbols = Symbols(known.name, language.LIMIT, (*language.RESERVED, *form.RESERVED))
    facts = planning.Facts("a program", "0" * 64, known, Choices(accumulate=accumulate, libm=form.LIBM))
    made = planning.of_program(program, list(probe), facts, symbols, language.derived)
    made.files = tuple(str(path.with_name(file)) for file in form.files(made, made.forward, path.name))
    write(made, str(path))
    return made


def word_of(kind):
    """Return a kind of net as a name of files."""
    return re.sub(r"\W+", "_", kind)
