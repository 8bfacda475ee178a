"""The arguments with which a function that calls or reads its arguments is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.auditing.expected import CLASS, FUNCTION, OBJECT, kind_of
from steelyard.auditing.libraries import looks_like_class
from steelyard.codecs.pickle.values import Blob, Global, Record, class_of, is_args

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled

    Accepts = Callable[[tuple["Pickled", ...]], bool]


def accepted(target: Global, args: Pickled) -> bool:
    """Whether the arguments are those that files of weights have; false for a function without a rule of its own."""
    accepts = _ACCEPTED.get(target.text.replace("numpy._core.", "numpy.core.").replace("copy_reg.", "copyreg."))
    return accepts is not None and is_args(args, 0) and accepts(args)


def _is_class(value: Pickled) -> bool:
    """Whether a value is the name of a class that may make an object, or of one that no list has, which is judged as a name."""
    if not isinstance(value, Global):
        return False
    kind = kind_of(value.module, value.name)
    known = OBJECT in kind or CLASS in kind or value.text in _CLASSES
    return known if kind else known or looks_like_class(value.name)


_CLASSES = frozenset(
    (
        "numpy.ndarray",
        "numpy.matrix",
        "numpy.recarray",
        "numpy.memmap",
        "numpy.rec.recarray",
        "numpy.ma.MaskedArray",
        "numpy.record",
    )
)
_BASES = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("object", "dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bytes", "complex", "long")
)


def _object(args: tuple[Pickled, ...]) -> bool:
    """`copyreg._reconstructor(class, base, state)`: the base makes the object of the state."""
    return len(args) == 3 and _is_class(args[0]) and isinstance(args[1], Global) and args[1].text in _BASES


def _new(args: tuple[Pickled, ...]) -> bool:
    """`copyreg.__newobj__(class, ...)`: the class makes an object, as NEWOBJ does."""
    return len(args) >= 1 and _is_class(args[0])


def _torch_file(args: tuple[Pickled, ...]) -> bool:
    """`torch.storage._load_from_bytes(bytes)`: the bytes are looked into."""
    if len(args) != 1 or not isinstance(args[0], (bytes, Blob)):
        return False
    head = args[0][:4] if isinstance(args[0], bytes) else args[0].part().head(4)
    return head[:1] == b"\x80" or head == b"PK\3\4"


def _typed(args: tuple[Pickled, ...]) -> bool:
    """`_rebuild_from_type_v2(function, type, arguments, state)`: the function is called with the arguments."""
    if len(args) not in (3, 4) or not isinstance(args[0], Global):
        return False
    rebuilds = args[0].module == "torch._utils" and kind_of(args[0].module, args[0].name) == FUNCTION
    return rebuilds and _is_class(args[1]) and isinstance(args[2], tuple)


def _array(args: tuple[Pickled, ...]) -> bool:
    """`_reconstruct(type, shape, code)`: an empty array of a type."""
    return bool(args) and _is_class(args[0])


def _masked(args: tuple[Pickled, ...]) -> bool:
    """`_mareconstruct(type, base, shape, code)`: the type is called."""
    texts = [arg.text for arg in args[:2] if isinstance(arg, Global)]
    return len(texts) == 2 and texts[0] in ("numpy.ma.core.MaskedArray", "numpy.ma.MaskedArray") and texts[1] == "numpy.ndarray"


def _jax_array(args: tuple[Pickled, ...]) -> bool:
    """`_reconstruct_array(function, arguments, state, ...)`: the function makes an array of NumPy."""
    function = args[0] if args else None
    return (
        isinstance(function, Global)
        and function.text in ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
        and is_args(args[1])
        and _array(args[1])
    )


def _generator(args: tuple[Pickled, ...]) -> bool:
    """`__bit_generator_ctor(name)`: a name, or a class of NumPy."""
    return all(isinstance(arg, str) or _is_of_random(arg) for arg in args)


def _random_state(args: tuple[Pickled, ...]) -> bool:
    """`__randomstate_ctor(name, function)`: the function is NumPy's own; or a generator that a call made."""
    return all(
        isinstance(arg, str) or _is_of_random(arg) or (isinstance(arg, Record) and _is_of_random(arg.call)) for arg in args
    )


def _is_of_random(value: Pickled) -> bool:
    return (
        isinstance(value, Global)
        and (value.module in _RANDOM or value.module == "numpy.random._pickle")
        and bool(kind_of(value.module, value.name))
    )


_RANDOM = tuple(f"numpy.random.{name}" for name in ("_mt19937", "_pcg64", "_philox", "_sfc64", "bit_generator", "_generator"))


def _partial(args: tuple[Pickled, ...]) -> bool:
    """`functools.partial(function)`: nothing is called before the partial function is, which is judged as a call."""
    return len(args) == 1 and isinstance(args[0], Global) and bool(kind_of(args[0].module, args[0].name))


def _attribute(args: tuple[Pickled, ...]) -> bool:
    """`getattr(object, name)`: a method of an expected class, which nothing calls before it is the function of a call."""
    if len(args) != 2 or not isinstance(args[1], str) or args[1].startswith("__"):
        return False
    kind = class_of(args[0]) if isinstance(args[0], Record) else args[0]
    return isinstance(kind, Global) and OBJECT in kind_of(kind.module, kind.name)


def _type(args: tuple[Pickled, ...]) -> bool:
    """`type(None)`: the type of a constant."""
    return len(args) == 1 and not isinstance(args[0], (Record, Global))


def _plain(args: tuple[Pickled, ...]) -> bool:
    """Arguments that are data, not objects that a call makes."""
    return all(not isinstance(arg, (Record, Global)) for arg in args)


_ACCEPTED: dict[str, Accepts] = {
    "copyreg._reconstructor": _object,
    "copyreg.__newobj__": _new,
    **{
        f"{module}.newObj": _new
        for module in (
            "sklearn.metrics._dist_metrics",
            "sklearn.neighbors._dist_metrics",
            "sklearn.neighbors._ball_tree",
            "sklearn.neighbors._kd_tree",
            "sklearn.neighbors.ball_tree",
            "sklearn.neighbors.kd_tree",
        )
    },
    "torch.storage._load_from_bytes": _torch_file,
    "torch._tensor._rebuild_from_type": _typed,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.ma.core._mareconstruct": _masked,
    "jax._src.array._reconstruct_array": _jax_array,
    "numpy.random._pickle.__bit_generator_ctor": _generator,
    "numpy.random._pickle.__generator_ctor": _random_state,
    "numpy.random._pickle.__randomstate_ctor": _random_state,
    "functools.partial": _partial,
    "builtins.getattr": _attribute,
    "__builtin__.getattr": _attribute,
    "builtins.type": _type,
    "__builtin__.type": _type,
    "pandas.core.indexes.base._new_Index": _new,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _new,
    "collections.deque": _plain,
}
