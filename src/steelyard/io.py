"""The way in and the way out: `weights` of anything, and `save` into a file."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from steelyard.core.weights import Weights
from steelyard.errors import NonFiniteWarning, ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source


def weights(source: Any, *, scope: Scope = "model") -> Weights:
    """Return the weights of a live model, a wrapper or container of models, or a file.

    `source` is a model of any framework that Steelyard knows, an array, a dict or list of these, `Weights`
    (given back as they are), or the path of a weight file, or its URL (which needs the extra "remote").
    Nothing is copied, and no number is read.
    With scope "all" a file lists every tensor that it holds by its full path, the optimizer's too.

    Raises `UnknownModelError`, `NotFittedError`, `FileMissingError` or `FormatError`.

    Examples:
        >>> import numpy as np
        >>> weights({"fc": {"kernel": np.ones((2, 3))}})["fc.kernel"].shape
        (2, 3)
    """
    if scope not in ("model", "all"):
        raise ShapeError(f'scope is {printable(scope)!r}; it must be "model" or "all"')
    if isinstance(source, Weights):
        return source
    if isinstance(source, (str, os.PathLike)):
        from steelyard.formats import weights_in

        opened = _opened(os.fspath(source))
        found = weights_in(opened, scope)
        remote = "://" in opened.name and opened.path is None
        return found.with_weights(found.values(), remote=True) if remote else found
    from steelyard.frameworks import weights_of

    return weights_of(source)


def _opened(path: str) -> Source:
    if "://" in path:
        from steelyard.storage.remote import is_url, open_url

        if is_url(path):
            return open_url(path)
    from steelyard.storage.source import open_path

    return open_path(path)


def save(source: Any, path: str | os.PathLike[str]) -> None:
    """Write the weights of `source` (a model, a path, a dict of arrays, `Weights`) into a file.

    The suffix of `path` says which format. The file takes its place only when it is complete and on the
    disk; the role, layer and axes of each weight, and which are tied, are kept in its metadata.
    Warns with `NonFiniteWarning` when a weight holds NaN or Inf. Raises `FormatError` for a suffix that no
    format writes, or for a type that the format cannot hold.

    Examples:
        >>> import numpy as np, tempfile
        >>> path = f"{tempfile.mkdtemp()}/net.safetensors"
        >>> save({"fc.weight": np.eye(2)}, path)
        >>> weights(path)["fc.weight"].numpy().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    from pathlib import Path

    from steelyard.formats import check_names, writer_of
    from steelyard.numerics.nonfinite import nonfinite

    found = weights(source)
    path = Path(path)
    writer = writer_of(path)
    check_names(found, path)
    for finding in nonfinite(found.values()):
        warnings.warn(str(finding), NonFiniteWarning, stacklevel=2)
    writer.write(found, path)
