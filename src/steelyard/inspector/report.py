"""`report`: one file that opens in any browser, offline, and shows every weight of a net, or what became of it.

The page is that of the local server: its style and modules stand in the file as they are, modules as data under an
import map, the numbers as packs in base64 of gzip. A policy lets nothing run but these modules, by their hashes, and
nothing be loaded.
"""

from __future__ import annotations

import gzip
import os
import posixpath
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from json import dumps
from typing import Any

from steelyard.core.protocols import Scope
from steelyard.errors import FormatError, ShapeError, printable
from steelyard.inspector.assets import page_files
from steelyard.storage.atomic import replacing

ENTRY = "report.js"
"""The module that runs in a report."""
SERVED_ENTRY = "served.js"
"""The module that runs in a page of the server, which a report leaves out."""
POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
PREFIX = "steelyard/"
"""What the modules of a report are called under: a module of data has no address that './' could mean."""
_IMPORTED = re.compile(r"""(?<=\bfrom ")\.[\w./-]+\.js(?=";)""")


def report(source: Any, path: str | os.PathLike[str], against: Any = None, *, spectra: str = "some") -> None:
    """Write a report on the weights of a model, a file or anything that `weights` takes: one HTML file for any browser.

    It shows of each weight the figures, the histogram, a picture, the filters of a convolution and the singular values,
    and what `check` finds. With `against`, the older of two, also what differs, as `diff` does. Singular values are found of
    "some" matrices, those that take seconds together, of "all" or of "none". Nothing is loaded from anywhere.

    A weight that cannot be read is shown with its error. Raises what `weights` raises, `ShapeError` for another word,
    `FormatError` where the page would replace a file that it is about, and `OSError` where the file cannot be written, which
    is as it was then.

    Examples:
        >>> import numpy as np, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "report.html")
        >>> report({"fc.weight": np.eye(4)}, path)
        >>> path.read_text("utf-8")[:15]
        '<!doctype html>'
    """
    write(source, path, against, spectra=spectra)


def write(
    source: Any,
    path: str | os.PathLike[str],
    against: Any = None,
    *,
    scope: Scope = "model",
    spectra: str = "some",
    progress: bool = False,
) -> tuple[int, int]:
    """Write a report, and return how many weights it shows and how many of them cannot be read."""
    from steelyard.inspector.index import rows_of, side_of
    from steelyard.inspector.report_data import SPECTRA, gathered

    if spectra not in SPECTRA:
        raise ShapeError(f"spectra is {printable(spectra)!r}; it must be one of {', '.join(SPECTRA)}")
    sources = [each for each in (source, against) if each is not None]
    sides = [side_of(each, scope) for each in sources]
    _keep(sources, path, scope)
    rows, told = rows_of(sides)
    found = gathered(sides, rows, told, spectra=spectra, progress=progress)
    title = " against ".join(printable(side.name) for side in sides)
    with replacing(path) as file:
        file.writelines(part.encode() for part in document(title, found.index, found.details))
    return len(rows), found.unreadable


def _keep(sources: Sequence[Any], path: str | os.PathLike[str], scope: Scope) -> None:
    """Raise where the page would take the place of a file that it is about."""
    from steelyard.converting import opened

    named = [os.fspath(each) for each in sources if isinstance(each, (str, os.PathLike))]
    if os.path.exists(path) and any(os.path.realpath(path) in opened(each, scope)[1] for each in named):
        raise FormatError(os.fspath(path), "is one of the files that the report is about; write it into another file")


def document(title: str, index: dict[str, Any], details: list[list[Any]]) -> Iterator[str]:
    """Yield the parts of the page."""
    from steelyard.inspector.packing import pack

    texts = page_files()
    modules = {name: text for name, text in texts.items() if name.endswith(".js") and name != SERVED_ENTRY}
    text = texts["index.html"]
    body = text[text.index("<body>") : text.index("</body>")].replace(
        f'<script type="module" src="{SERVED_ENTRY}"></script>\n', ""
    )
    yield _head(title, texts["page.css"], modules)
    yield body
    yield _packed("index-pack", pack(index))
    yield f'<script type="module" async>{_entry()}</script>\n'
    yield _packed("details-pack", pack({"details": details}))
    yield "</body>\n</html>\n"


def _head(title: str, style: str, modules: dict[str, str]) -> str:
    named = {name: _with_bare_imports(name, text) for name, text in modules.items()}
    addresses = {name: f"data:text/javascript;base64,{b64encode(text.encode()).decode()}" for name, text in named.items()}
    hashes = {name: _hash(text) for name, text in named.items()}
    imports = dumps(
        {
            "imports": {PREFIX + name: address for name, address in addresses.items()},
            "integrity": {addresses[name]: found for name, found in hashes.items()},
        }
    )
    scripts = " ".join(f"'{each}'" for each in (_hash(imports), _hash(_entry()), *hashes.values()))
    policy = f"{POLICY}; script-src {scripts}; style-src '{_hash(style)}'"
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
<script type="importmap">{imports}</script>
</head>
"""


def _with_bare_imports(name: str, text: str) -> str:
    """Return a module that imports others by their names in the import map: `steelyard/data/pack.js`, not `./pack.js`."""
    folder = posixpath.dirname(name)
    return _IMPORTED.sub(lambda found: PREFIX + posixpath.normpath(posixpath.join(folder, found[0])), text)


def _entry() -> str:
    return f'import "{PREFIX}{ENTRY}";'


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _packed(name: str, data: bytes) -> str:
    """Write a pack as an element that no browser runs; base64 holds nothing that could end it."""
    return f'<script type="application/octet-stream" id="{name}">{b64encode(gzip.compress(data, mtime=0)).decode()}</script>\n'
