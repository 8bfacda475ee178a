"""`report`: one HTML file that opens in any browser, offline, and shows every weight of a net, or how it changed.

The page is that of the local server. The file holds its style sheet, and its modules joined into one script without their
comments. The numbers are packs, as base64 of gzip. A content security policy allows only this script, by its hash, and blocks
all requests.
"""

from __future__ import annotations

import gzip
import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any, Literal, overload

from steelyard.errors import FormatError, ShapeError, meant, printable, quoted
from steelyard.inspector.assets import page_files, run_files, with_script
from steelyard.storage.atomic import replacing
from steelyard.text.units import counted, in_units

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.inspector.report_data import ReportData

    Spectra = Literal["some", "all", "none"]

ENTRY = "report.js"  # the module that runs in a report
NOTEBOOK_ENTRY = "notebook.js"  # the module that runs in a notebook's frame
RUN_ENTRY = "run/report.js"  # that of the page of a run
HEIGHT = 660
"""Pixels of the frame in which a notebook shows a page: its parts next to each other, and most of a notebook's window."""
LEVEL = 6
"""Of gzip: a higher one takes four times as long for a hundredth of the size."""
POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
_SERVED = re.compile(r'<script type="module" src="[\w/]+\.js"></script>\n')


class Report:
    """A report as a page: a notebook shows it in place, `save` writes it, and `html` is its text, with a number of `rows`."""

    __slots__ = ("html", "rows", "title")

    def __init__(self, title: str, html: str, rows: int) -> None:
        self.title = title
        self.html = html
        self.rows = rows

    def __repr__(self) -> str:
        return f"{self._line()}; a notebook shows it in place, .save(PATH) writes it"

    def _repr_html_(self) -> str:
        style = f"display:block;width:100%;height:{HEIGHT}px;border:0;border-radius:8px;"
        frame = f'<iframe title="{escape(self._line())}" style="{style}" srcdoc="{escape(self.html)}"></iframe>'
        return f"<div>{frame}<p>{escape(self._line())}; .save(PATH) writes it</p></div>"

    def _line(self) -> str:
        rows = f"{counted(self.rows, 'row')}"
        return f"report of {self.title}: {rows}, {in_units(len(self.html))}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file that any browser opens, offline; raises `OSError`, and an existing file is then kept."""
        with replacing(path) as file:
            file.write(self.html.encode())


@overload
def report(
    source: object, path: None = None, *, before: object = None, spectra: Spectra = "some", effective: bool = False
) -> Report: ...
@overload
def report(
    source: object,
    path: str | os.PathLike[str],
    *,
    before: object = None,
    spectra: Spectra = "some",
    effective: bool = False,
) -> None: ...
def report(
    source: object,
    path: str | os.PathLike[str] | None = None,
    *,
    before: object = None,
    spectra: Spectra = "some",
    effective: bool = False,
) -> Report | None:
    """Write one HTML file that shows every weight of a model, a file or anything else that `weights` takes.

    Without a `path` the page is returned, and a notebook shows it in place. It shows the statistics of each weight, its
    histogram, a heat map, the filters of a convolution and the singular values, and the findings of `check`. With `before`, an
    older source of any format or framework, it also shows the differences, as `diff` does. Singular values are computed for
    "some" matrices (those that take seconds together), for "all" or for "none". With `effective` the weights are those of
    `Weights.effective`. The page loads no other file.

    The folder of a recorded run, or a history, gets a page with a slider of steps: norms, update ratios, the distributions of
    each weight and the path of all.

    A weight that cannot be read is shown with its error. Raises the errors of `weights`, `ShapeError` for any other `spectra`,
    `FormatError` if the page would replace one of the files that it shows, and `OSError` if the file cannot be written; an
    existing file is then kept.

    Examples:
        >>> import numpy as np, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "report.html")
        >>> report({"fc.weight": np.eye(4)}, path)
        >>> report({"fc.weight": np.eye(4)})
        report of dict: 1 row, ... kB; a notebook shows it in place, .save(PATH) writes it
        >>> path.read_text("utf-8") == report({"fc.weight": np.eye(4)}).html
        True
    """
    if path is not None:
        write(source, path, before, spectra=spectra, effective=effective)
        return None
    if (run := run_of(source, before)) is not None:
        title, record = run
        return Report(title, "".join(run_document(title, record)), record["records"])
    title, data = _collect(source, before, "model", spectra, progress=False, effective=effective)
    return Report(title, "".join(document(title, data.index, data.net, data.packed_details())), len(data.details))


def write(
    source: object,
    path: str | os.PathLike[str],
    before: object = None,
    *,
    scope: Scope = "model",
    spectra: Spectra = "some",
    progress: bool = False,
    skip_unreadable: bool = False,
    effective: bool = False,
) -> tuple[int, int]:
    """Write a report, and return the number of its rows and of the weights that cannot be read.

    With `skip_unreadable` those have no rows, and a warning names them.
    """
    if (run := run_of(source, before)) is not None:
        with replacing(path) as file:
            file.writelines(piece.encode() for piece in run_document(*run))
        return run[1]["records"], 0
    options = {"progress": progress, "skip_unreadable": skip_unreadable, "effective": effective}
    title, data = _collect(source, before, scope, spectra, path, **options)
    with replacing(path) as file:
        file.writelines(piece.encode() for piece in document(title, data.index, data.net, data.packed_details()))
    return len(data.details), data.unreadable


def run_of(source: object, before: object = None) -> tuple[str, dict[str, Any]] | None:
    """Return the title and the data of the page of a run; None for anything else."""
    from steelyard.inspector.run_page import is_run, run_record, run_title
    from steelyard.runs.history import history

    if not is_run(source):
        return None
    if before is not None:
        raise ShapeError(f"a page shows one run; steelyard.history(...).compare(...) compares it with {printable(before, 60)}")
    found = history(source)
    return run_title(found), run_record(found)


def _collect(
    source: object,
    before: object,
    scope: Scope,
    spectra: str,
    path: str | os.PathLike[str] | None = None,
    *,
    progress: bool,
    skip_unreadable: bool = False,
    effective: bool = False,
) -> tuple[str, ReportData]:
    """Return the title of a report and its data; raises `FormatError` if `path` is one of the files that it shows."""
    from steelyard.core.selection import readable
    from steelyard.inspector.index import open_source, rows_of
    from steelyard.inspector.report_data import SPECTRA, report_data

    if spectra not in SPECTRA:
        raise ShapeError(f"spectra is {quoted(spectra)}; it must be one of {', '.join(SPECTRA)}{meant(spectra, SPECTRA)}")
    sources = [open_source(each, scope) for each in (source, before) if each is not None]
    if path is not None and os.path.exists(path) and any(os.path.realpath(path) in each.files for each in sources):
        raise FormatError(os.fspath(path), "is one of the files that the report shows; choose another path")
    if effective:
        sources = [each._replace(weights=each.weights.effective()) for each in sources]
    if skip_unreadable:
        sources = [each._replace(weights=readable(each.weights, skip_unreadable=True)) for each in sources]
    rows, pairing = rows_of(sources)
    data = report_data(sources, rows, pairing, spectra=spectra, progress=progress)
    return " compared with ".join(printable(each.name) for each in sources), data


def document(title: str, index: dict[str, Any], net: dict[str, Any], details: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of the page of a report."""
    from steelyard.inspector.columns import compact
    from steelyard.inspector.packing import pack

    begin, script = _begin(title, page_files(), ENTRY)
    yield begin
    yield _packed("index-pack", pack(compact(index)))
    yield f'<script type="module" async>{script}</script>\n'
    yield _packed("net-pack", pack(net))
    yield _packed("details-pack", pack(details))
    yield "</body>\n</html>\n"


def framed(title: str) -> str:
    """Return the page of a notebook's frame, which gets its data from a port."""
    begin, script = _begin(title, page_files(), NOTEBOOK_ENTRY)
    return f'{begin}<script type="module">{script}</script>\n</body>\n</html>\n'


def run_document(title: str, record: dict[str, Any]) -> Iterator[str]:
    """Yield the parts of the page of a run."""
    from steelyard.inspector.packing import pack

    begin, script = _begin(title, run_files(), RUN_ENTRY)
    yield begin
    yield _packed("run-pack", pack(record))
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n'


def _begin(title: str, texts: Mapping[str, str], entry: str) -> tuple[str, str]:
    """Return a page up to its last element, and the script that it allows."""
    files = with_script(texts, entry)
    page = files["index.html"]
    style = "".join(text for name, text in files.items() if name.endswith(".css"))
    body = _SERVED.sub("", page[page.index("<body>") : page.index("</body>")])
    return _head(title, style, files[entry]) + body, files[entry]


def _head(title: str, style: str, script: str) -> str:
    policy = f"{POLICY}; script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(title)} - Steelyard</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
"""


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _packed(name: str, data: bytes) -> str:
    """Return a pack as an element that browsers do not execute; no character of base64 can end the element."""
    zipped = gzip.compress(data, LEVEL, mtime=0)
    return f'<script type="application/octet-stream" id="{name}">{b64encode(zipped).decode()}</script>\n'
