"""The audit of a pickle: its names and calls that a weight file does not need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Blob, Boxed, Global, Persistent, Record
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.values import Pickled

SHOWN_DEPTH = 4
"""The number of levels of a call's arguments that are shown."""
SHOWN_ITEMS = 8
"""The number of items of a list, a tuple or a dict that are shown."""

_USUAL = frozenset(
    {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "collections.OrderedDict", "torch.Size"}
    | {f"torch.{kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Bool", "Byte")}
)
"""The names of nearly every file of torch: most files need no pattern."""
_FUNCTIONS = r"""
    torch\._utils\._rebuild_\w+ | torch\._tensor\._rebuild_\w+ | torch\.jit\._pickle\.\w+
  | torch\.(Size|device|dtype|Tensor|layout|strided|per_\w+_affine\w*|sparse_\w+)
  | torch\.(storage\._load_from_bytes|serialization\._get_layout)
  | torch\.(storage\.)?\w+Storage | torch\.(cuda\.)?\w+(Storage|Tensor)
  | torch\.(bool|u?int\d+|float\w*|double|half|bfloat16|complex\w+|q?u?int\w+)
  | torch\.nn\.parameter\.(Uninitialized)?(Parameter|Buffer) | torch\.utils\.hooks\.RemovableHandle
  | numpy\.(_?core)\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer) | numpy\.(dtype|ndarray|float\d+|u?int\d+|bool_?)
  | numpy\.ma\.(core\.)?(_mareconstruct|MaskedArray) | numpy\.random\.mtrand\.RandomState
  | numpy\.random\._pickle\.\w+ | numpy\.random\.(_\w+\.\w+|bit_generator\.\w+)
  | numpy\.dtypes\.\w+ | ml_dtypes\.\w+ | jax\._src\.array\._reconstruct_array
  | joblib\.numpy_pickle(_compat)?\.\w+Wrapper
  | sklearn\.neural_network\._stochastic_optimizers\.\w+ | sklearn\.(tree\._tree|neighbors\._\w+)\.\w+ | sklearn\._loss\.\w+\.\w+
  | sklearn\.utils\._bunch\.Bunch
  | scipy\.sparse\.[\w.]*\w+_(matrix|array)
  | skorch\.setter\.optimizer_setter | skorch\.utils\.(to_numpy|_indexing_\w+) | torch\.utils\.data\.dataloader\.DataLoader
  | pytorch_lightning\.utilities\.parsing\.AttributeDict
  | (lightning_fabric|lightning\.fabric)\.utilities\.data\.AttributeDict
  | collections\.(OrderedDict|defaultdict|Counter|deque) | _codecs\.encode | functools\.partial
  | (builtins|__builtin__)\.(set|frozenset|bytearray|bytes|complex|slice|range|xrange|object|dict|list|tuple|int|long)
  | (builtins|__builtin__)\.(float|str|unicode|bool|print)
  | (copyreg|copy_reg)\._reconstructor | argparse\.Namespace | datetime\.\w+ | decimal\.Decimal | fractions\.Fraction | uuid\.UUID
  | pathlib\.(_local\.)?\w*Path | enum\.\w+ | types\.SimpleNamespace
  | __torch__\.[\w.]+
    """
_CLASSES = r"(torch\.(nn\.modules|nn\.parallel|optim|ao\.nn|nn\.quantized)|sklearn|skorch)\.(?:\w+\.)*_*[A-Z]\w*"
"""Classes whose objects are made by setting attributes: their constructors read and run nothing."""


def is_expected(target: Global) -> bool:
    """Whether weight files of PyTorch, NumPy and scikit-learn use this name.

    >>> is_expected(Global("torch._utils", "_rebuild_tensor_v2")), is_expected(Global("posix", "system"))
    (True, False)
    """
    text = target.text
    return text in _USUAL or bool(re.fullmatch(_FUNCTIONS, text, re.VERBOSE) or re.fullmatch(_CLASSES, text))


def calls(machine: Machine) -> list[str]:
    """Return the calls and imports of a loader that a weight file does not need, as Python source.

    They are in the order of the pickle, printable and short; a name that is never called has no arguments. `machine` has
    run its pickles.
    """
    strange = [target for target in machine.globals.values() if not is_expected(target)]
    if not strange:
        return []
    named = set(map(id, strange))
    written_calls: dict[str, None] = {}
    called: set[int] = set()
    for record in machine.records:
        roots = {id(target) for target in _roots(record)}
        if roots & named:
            called |= roots
            written_calls.setdefault(written(record))
        if len(written_calls) >= limits.FINDINGS:
            break
    rest = [target.text for target in strange if id(target) not in called]
    return [*written_calls, *(printable(text) for text in rest[: limits.FINDINGS])]


def _roots(record: Record) -> Iterator[Global]:
    """Yield the functions of a call: its target, and functions among its arguments."""
    for part in (record.call, *(record.args if type(record.args) is tuple else ())):
        if isinstance(part, Global):
            yield part
        elif isinstance(part, Record) and isinstance(part.call, Global):
            yield part.call


def written(value: Pickled, depth: int = SHOWN_DEPTH) -> str:  # noqa: PLR0911 - one for each kind of value
    """Return a value of a pickle as Python source on one line, with "..." for parts that are too long or too deep.

    >>> written(Record(Global("posix", "system"), ("ls",)))
    "posix.system('ls')"
    """
    if isinstance(value, (Record, list, tuple, dict)) and depth <= 0:
        return "..."
    if isinstance(value, Record):
        args = value.args if isinstance(value.args, tuple) else (value.args,)
        return f"{written(value.call, depth - 1)}({_comma_separated(args, depth)})"
    if isinstance(value, (list, tuple)):
        items = _comma_separated(value, depth)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    if isinstance(value, dict):
        keys = islice(value, SHOWN_ITEMS)
        pairs = [f"{written(key, depth - 1)}: {written(value[key], depth - 1)}" for key in keys]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (Blob, Persistent, Boxed)):
        return {Blob: "<bytes>", Persistent: "<storage>", Boxed: "<key>"}[type(value)]
    if isinstance(value, (str, bytes)):
        return printable(repr(value[:200]), 120)
    return printable(value, 120)


def _comma_separated(values: list[Pickled] | tuple[Pickled, ...], depth: int) -> str:
    return ", ".join(written(value, depth - 1) for value in values[:SHOWN_ITEMS])
