"""Write the names that weight files need into src/steelyard/auditing/expected.txt, each after a proof that it runs nothing else.

A class is proven by the source text of all its methods that an unpickler calls: `__new__`, `__setstate__`, `__setattr__`,
`__getattr__`, `__del__`, `__hash__` and `__eq__`, for the kind "c" also `__init__`. Each call in them must be of a name that runs
nothing (`HARMLESS`), or of a function that is proven in turn. Compiled classes and functions cannot be proven like this: those of
`REVIEWED` were read by a person, with the reason in one word group each.

    .venv/bin/python -m scripts.expected
"""

import ast
import builtins
import contextlib
import enum
import importlib
import inspect
import os
import pkgutil
import sys
import textwrap
import types
import warnings
from collections import defaultdict
from pathlib import Path

os.environ.update(CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")
TARGET = Path(__file__).parent.parent / "src" / "steelyard" / "auditing" / "expected.txt"

PACKAGES = (
    "torch.nn",
    "torch.optim",
    "torch.ao.nn",
    "torch.ao.quantization",
    "torch.distributions",
    "torch.utils.data",
    "torch.amp",
    "sklearn",
    "skorch",
    "scipy.sparse",
    "scipy.stats",
    "scipy.interpolate",
    "scipy.spatial",
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.checkpoint.filesystem",
    "torch.distributed._shard.metadata",
    "torch.cuda.amp.grad_scaler",
    "torch.serialization",
    "joblib.numpy_pickle",
    "joblib.numpy_pickle_compat",
    "joblib.numpy_pickle_utils",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.lib",
    "numpy.matrixlib",
)
LEFT_OUT = ("tests", "testing", "conftest", "_test", "externals", "_pytesttester", "f2py", "datasets", "callback", "backends")
CALLED = ("__new__", "__setstate__", "__setattr__", "__getattr__", "__getattribute__", "__del__", "__hash__", "__eq__")
ITEMS = ("append", "extend", "__setitem__", "add")

HARMLESS = {
    *("super", "isinstance", "issubclass", "len", "dict", "list", "tuple", "set", "frozenset", "hasattr", "type", "str", "int"),
    *("float", "bool", "id", "zip", "enumerate", "range", "min", "max", "any", "all", "repr", "abs", "sum", "callable"),
    *(
        "getattr",
        "setattr",
        "delattr",
        "hash",
        "object",
        "OrderedDict",
        "defaultdict",
        "cast",
        "DeprecationWarning",
        "FutureWarning",
        "RuntimeWarning",
        "UserWarning",
    ),
    *(name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)),
}
"""Functions that run nothing of their arguments, but for methods that data have."""
HARMLESS_CALLS = {
    *("torch.is_tensor", "torch.tensor", "torch.jit.is_scripting", "weakref.ref", "warnings.warn", "np.asarray", "np.array"),
    *("torch._C._log_api_usage_once", "_get_privateuse1_backend_name", "random.Random", "datetime", "parse_version"),
    *("torch.get_default_dtype", "torch.are_deterministic_algorithms_enabled", "np.isscalar", "np.asanyarray"),
}
"""Functions of frameworks that only look at their arguments, as they are written in the source."""
READ = {
    "skorch.net.NeuralNet.__setstate__": "loads its modules from bytes, which the audit looks into",
    "scipy.sparse._base._spbase.__eq__": "compares its own arrays",
    "sklearn.isotonic.IsotonicRegression.__setstate__": "makes a function of its own arrays",
    "torch.optim.optimizer.Optimizer._patch_step_function": "wraps its own step",
    "torch.nn.modules.module.Module.__setattr__": "registers parameters and modules; the hooks are those of the program",
    "sklearn.gaussian_process.kernels.Kernel.__eq__": "compares its own parameters",
    "sklearn.gaussian_process.kernels.KernelOperator.__eq__": "compares its own parameters",
}
"""Methods that were read by a person, with the reason why they run nothing else."""
HARMLESS_METHODS = {
    *(
        "update",
        "items",
        "keys",
        "values",
        "get",
        "setdefault",
        "pop",
        "copy",
        "format",
        "startswith",
        "endswith",
        "join",
        "split",
    ),
    *(
        "warn",
        "append",
        "extend",
        "lower",
        "upper",
        "strip",
        "index",
        "add",
        "clear",
        "remove",
        "replace",
        "rsplit",
        "rstrip",
        "lstrip",
        "astype",
        "view",
        "tolist",
    ),
    *("__init__", "__setstate__", "__new__", "__setattr__", "__eq__", "__hash__", "__getattribute__"),
}

REVIEWED = {
    # how they may be used, why they run nothing else, and the names of each module
    ("f", "make a tensor of a storage and numbers"): {
        "torch._utils": """_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_v2
            _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor _rebuild_sparse_csr_tensor
            _rebuild_nested_tensor _rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_numpy
            _rebuild_device_tensor_from_cpu_tensor _rebuild_xla_tensor _rebuild_wrapper_subclass""",
        "torch.serialization": "_get_layout",
        "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
        "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle",
        "pandas._libs.tslibs.nattype": "_nat_unpickle",
        "pyarrow.lib": "type_for_alias py_buffer _restore_array",
        "torch.jit._pickle": """build_intlist build_tensorlist build_doublelist build_boollist build_tensor_from_id
            restore_type_tag""",
    },
    ("a", "call a function among their arguments"): {
        "torch._tensor": "_rebuild_from_type _rebuild_from_type_v2",
        "torch.storage": "_load_from_bytes",
        "copyreg": "_reconstructor __newobj__",
        "copy_reg": "_reconstructor __newobj__",
        "functools": "partial",
        "numpy.core.multiarray": "_reconstruct",
        "numpy._core.multiarray": "_reconstruct",
        "numpy.ma.core": "_mareconstruct",
        "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
        "jax._src.array": "_reconstruct_array",
        "pandas.core.indexes.base": "_new_Index",
        "numpy.random.bit_generator": "__pyx_unpickle_SeedSequence",
        "collections": "OrderedDict Counter defaultdict deque",
        "_codecs": "encode",
        "builtins": "set frozenset list tuple dict bytearray bytes getattr type",
        "__builtin__": "set frozenset list tuple dict bytearray bytes getattr type",
        "sklearn.metrics._dist_metrics": "newObj",
        "sklearn.neighbors._dist_metrics": "newObj",
        "sklearn.neighbors._ball_tree": "newObj",
        "sklearn.neighbors._kd_tree": "newObj",
        "sklearn.neighbors.ball_tree": "newObj",
        "sklearn.neighbors.kd_tree": "newObj",
    },
    ("f", "make an array or a number of bytes"): {
        "numpy.core.multiarray": "scalar",
        "numpy._core.multiarray": "scalar",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "numpy": "dtype",
        "array": "_array_reconstructor array",
        "pandas._libs.internals": "_unpickle_block",
    },
    ("c", "make numbers, texts and times"): {
        "builtins": "complex slice range int float str bool object",
        "__builtin__": "complex slice xrange int long float str unicode bool object",
        "datetime": "datetime date time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "uuid": "UUID",
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "pathlib": "PosixPath WindowsPath Path PurePath PurePosixPath PureWindowsPath",
        "pathlib._local": "PosixPath WindowsPath Path PurePath PurePosixPath PureWindowsPath",
        "torch": "Size device",
        "torch.nn.parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer",
        "numpy": """bool_ bool float16 float32 float64 longdouble int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64
            complex128 str_ bytes_ datetime64 timedelta64""",
    },
    ("o", "compiled, take arrays and numbers as their state"): {
        "numpy.random.mtrand": "RandomState",
        "numpy.random._generator": "Generator",
        "numpy.random._mt19937": "MT19937",
        "numpy.random._pcg64": "PCG64 PCG64DXSM",
        "numpy.random._philox": "Philox",
        "numpy.random._sfc64": "SFC64",
        "torch": "Tensor Generator",
        "torch._C": "Generator",
        "sklearn.metrics._dist_metrics": "DistanceMetric",
    },
    ("o", "a weak reference to a dict of hooks"): {"torch.utils.hooks": "RemovableHandle"},
    ("oc", "compiled, checked arrays and numbers make them"): {
        "sklearn.tree._tree": "Tree",
        "sklearn.neighbors._quad_tree": "_QuadTree",
        "numpy.random.bit_generator": "SeedSequence",
    },
    ("oc", "compiled, numbers and arrays of checked types make them"): {
        "sklearn.linear_model._sgd_fast": """Classification EpsilonInsensitive Hinge Huber Log LossFunction ModifiedHuber
            Regression SquaredEpsilonInsensitive SquaredHinge SquaredLoss CyHalfSquaredError CyHalfBinomialLoss CyHuberLoss""",
        "sklearn._loss._loss": """CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss
            CyHalfPoissonLoss CyHalfSquaredError CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHuberLoss CyPinballLoss""",
        "sklearn.tree._criterion": "Entropy FriedmanMSE Gini MAE MSE Poisson",
        "sklearn.tree._splitter": "BestSplitter BestSparseSplitter RandomSplitter RandomSparseSplitter",
    },
    ("o", "compiled, arrays of checked types are their state"): {
        "sklearn.metrics._dist_metrics": """EuclideanDistance EuclideanDistance32 EuclideanDistance64 ManhattanDistance
            ManhattanDistance32 ManhattanDistance64 MinkowskiDistance MinkowskiDistance32 MinkowskiDistance64 ChebyshevDistance
            ChebyshevDistance32 ChebyshevDistance64 HammingDistance HammingDistance32 HammingDistance64""",
        "sklearn.neighbors._kd_tree": "KDTree KDTree32 KDTree64 BinaryTree",
        "sklearn.neighbors._ball_tree": "BallTree BallTree32 BallTree64 BinaryTree",
        "scipy.spatial._ckdtree": "cKDTree",
        "scipy.spatial.ckdtree": "cKDTree",
        "joblib.numpy_pickle": "NDArrayWrapper NumpyArrayWrapper ZNDArrayWrapper",
        "joblib.numpy_pickle_compat": "NDArrayWrapper ZNDArrayWrapper",
    },
    ("oci", "a dict whose items are attributes"): {
        "sklearn.utils": "Bunch",
        "sklearn.utils._bunch": "Bunch",
        "sklearn.datasets.base": "Bunch",
        "pytorch_lightning.utilities.parsing": "AttributeDict",
        "lightning_fabric.utilities.data": "AttributeDict",
        "lightning.fabric.utilities.data": "AttributeDict",
    },
    ("n", "types and arrays"): {
        "numpy": "ndarray matrix recarray record",
        "torch.utils.data.dataloader": "DataLoader",
        "builtins": "print Ellipsis NotImplemented len abs min max sum sorted",
        "__builtin__": "print Ellipsis NotImplemented len abs min max sum sorted",
        "numpy.rec": "recarray record",
        "torch.amp.grad_scaler": "_refresh_per_optimizer_state",
        "scipy._lib.array_api_compat.numpy._aliases": "asarray",
        "torch.storage": "UntypedStorage TypedStorage",
        "skorch.setter": "optimizer_setter",
        "skorch.utils": "to_numpy noop train_loss_score valid_loss_score",
    },
}
"""What was read by a person."""


NAMES = "named only: types, and functions that are settings"
SOURCE = "source: the text of each method that an unpickler calls was proven"


class UnprovenError(Exception):
    """Something that may run more than it seems to."""


def main():
    """Import the packages, prove what they define, and write the list."""
    warnings.simplefilter("ignore")
    listed = defaultdict(lambda: defaultdict(set))
    reasons = {}
    for (kind, reason), modules in REVIEWED.items():
        for module, names in modules.items():
            listed[module][kind] |= set(names.split())
            reasons |= {(module, name): f"read: {reason}" for name in names.split()}
    for module in modules_of(PACKAGES):
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__ or getattr(value, "__qualname__", name) != name:
                continue  # another module owns it
            kind = kind_of(value) if isinstance(value, type) else "n" if is_setting(value, module) else ""
            if kind and not any(name in names for names in listed[module.__name__].values()):
                listed[module.__name__][kind].add(name)
    add_torch(listed)
    add_numpy(listed)
    add_others(listed)
    write(listed, reasons)


def write(listed, reasons):
    """Write a section for each reason, with a line for each module and kind."""
    sections = defaultdict(lambda: defaultdict(list))
    for module, kinds in listed.items():
        for kind, names in kinds.items():
            for name in names:
                how = NAMES if kind == "n" else reasons.get((module, name)) or reasons.get((newer(module), name)) or SOURCE
                sections[how][module, kind].append(name)
    lines = ["# written by scripts/expected: sections of one reason each, with lines of module, kind and names"]
    for how in sorted(sections):
        lines += [
            f"# {how}",
            *(f"{module} {kind} {' '.join(sorted(names))}" for (module, kind), names in sorted(sections[how].items())),
        ]
    TARGET.write_text("\n".join([*lines, ""]))
    print(f"{len(lines):,} lines, {sum(len(names) for held in sections.values() for names in held.values()):,} names")


def newer(module):
    """Return the present name of a module that had another name before."""
    return module.replace("sklearn.externals.", "").replace("numpy.core.", "numpy._core.")


def modules_of(packages):
    """Import packages with all their modules, but for their tests."""
    for package in packages:
        root = importlib.import_module(package)
        yield root
        for info in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.", onerror=lambda _: None):
            if any(part in LEFT_OUT or part.startswith("test") for part in info.name.split(".")):
                continue
            if (module := imported(info.name)) is not None:
                yield module


def imported(name):
    """Import a module; None for one that needs what is not installed."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001 - a module may raise anything
            return None


def kind_of(value):
    """Return the kind of a class: "o", with "c" if it may be called and "i" if it may be filled; "n" if it may be named only."""
    try:
        for name in CALLED:
            prove_method(value, name)
    except UnprovenError:
        return "n"
    kind = "o"
    with contextlib.suppress(UnprovenError):
        prove_method(value, "__init__")
        if type(value).__call__ is type.__call__ or issubclass(value, enum.Enum):
            kind += "c"
    with contextlib.suppress(UnprovenError):
        for name in ITEMS:
            prove_method(value, name)
        kind += "i" if issubclass(value, (dict, list, set)) else ""
    return kind


def prove_method(value, name):
    """Prove every version of a method among the bases. Raises `UnprovenError`."""
    for base in value.__mro__:
        method = vars(base).get(name)
        if method is None or base in (object, dict, list, tuple, set, str, int, float, Exception, BaseException):
            continue
        if base.__module__ == "enum" or f"{base.__module__}.{base.__qualname__}.{name}" in READ:
            continue
        if isinstance(method, (staticmethod, classmethod)):
            method = method.__func__
        if isinstance(method, types.FunctionType) and method.__qualname__ == "deprecated._decorate_class.<locals>.wrapped":
            continue  # it warns, and makes the object
        if isinstance(method, types.FunctionType) and method.__module__ == "enum":
            continue  # it looks up a member
        if isinstance(method, types.FunctionType):
            prove(method, value, 0)
        elif base.__module__ not in ("builtins", "typing", "abc", "_abc", "collections"):
            raise UnprovenError(f"{base.__module__}.{base.__name__}.{name} is compiled")


PROVEN = {}
DEPRECATING = ("sklearn/utils/deprecation.py", "typing_extensions.py", "warnings.py")


def prove(function, owner, depth):
    """Prove that a function runs nothing of its arguments. Raises `UnprovenError`."""
    if hasattr(function, "__wrapped__") and function.__code__.co_filename.endswith(DEPRECATING):
        function = function.__wrapped__  # the wrapper only warns
    if not isinstance(function, types.FunctionType):
        if function in (object.__init__, object.__new__):
            return
        raise UnprovenError("a compiled function is decorated")
    if hasattr(function, "__wrapped__"):
        raise UnprovenError(f"{function.__qualname__} is decorated")
    key = function, owner
    if key in PROVEN:
        if PROVEN[key]:
            raise UnprovenError(PROVEN[key])
        return
    PROVEN[key] = ""
    try:
        _prove(function, owner, depth)
    except UnprovenError as error:
        PROVEN[key] = str(error)
        raise


def _prove(function, owner, depth):
    if depth > 4:
        raise UnprovenError(f"{function.__qualname__} calls too deeply")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        if function.__qualname__.startswith("__create_fn__") or function.__code__.co_filename == "<string>":
            return prove_generated(function)
        raise UnprovenError(f"{function.__qualname__} has no source") from None
    body = tree.body[0]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}  # their bodies are in the tree
    for node in ast.walk(ast.Module(body=body.body if isinstance(body, ast.FunctionDef) else [body], type_ignores=[])):
        if isinstance(node, (ast.With, ast.AsyncWith, ast.Await, ast.Yield, ast.Global, ast.Nonlocal)):
            raise UnprovenError(f"{function.__qualname__} has a {type(node).__name__}")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            prove_import(node, function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in HARMLESS_CALLS | own:
            prove_call(node.func, function, owner, depth)
    return None


def prove_generated(function):
    """A method that `dataclass` or `namedtuple` wrote: it sets attributes."""
    if not set(function.__code__.co_names) & {"eval", "exec", "getattr", "__post_init__"}:
        return
    raise UnprovenError(f"{function.__qualname__} is generated")


def prove_import(node, function):
    """A module may import from its own package."""
    package = function.__module__.partition(".")[0]
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    if getattr(node, "level", 0) == 0 and any(name.partition(".")[0] not in (package, "warnings", "typing") for name in names):
        raise UnprovenError(f"{function.__qualname__} imports {names}")


def prove_call(called, function, owner, depth):  # noqa: PLR0911 - one for each kind of call
    """Prove that one call in the source of a function runs nothing of its arguments. Raises `UnprovenError`."""
    if isinstance(called, ast.Name):
        if called.id in HARMLESS and getattr(builtins, called.id, None) is function.__globals__.get(
            called.id, getattr(builtins, called.id, None)
        ):
            return
        target = function.__globals__.get(called.id)
        if called.id in HARMLESS and target is not None and getattr(target, "__module__", "") in ("collections", "typing"):
            return
        if isinstance(target, types.FunctionType):
            prove(target, owner, depth + 1)
            return
        if isinstance(target, type) and issubclass(target, BaseException):
            return
    elif isinstance(called, ast.Attribute):
        is_self = isinstance(called.value, ast.Name) and called.value.id in ("self", "cls")
        if owner is not None and any(f"{base.__module__}.{base.__qualname__}.{called.attr}" in READ for base in owner.__mro__):
            return
        if is_self and owner is not None and isinstance(inspect.getattr_static(owner, called.attr, None), types.FunctionType):
            prove(inspect.getattr_static(owner, called.attr), owner, depth + 1)
            return
        if called.attr in HARMLESS_METHODS and not is_self:
            return
    raise UnprovenError(f"{function.__qualname__} calls {ast.unparse(called)}")


NAMED = ("torch.nn.", "torch.optim.", "sklearn.", "skorch.", "scipy.")
"""Modules whose functions are settings of estimators and layers: they are named, and never called by a pickle."""


def is_setting(value, module):
    """Whether a value is a function that estimators and layers have as a setting."""
    return isinstance(value, types.FunctionType) and module.__name__.startswith(NAMED)


def add_torch(listed):
    """Add types, layouts and storages, and the functions of numbers that layers have as activations."""
    import torch

    for name, value in vars(torch).items():
        is_type = isinstance(value, (torch.dtype, torch.layout, torch.memory_format, torch.qscheme))
        is_number = isinstance(value, types.BuiltinFunctionType) and hasattr(torch.Tensor, name)
        if is_type or is_number or name.endswith("Storage") or (name.endswith("Tensor") and isinstance(value, type)):
            listed["torch"]["n"].add(name)
    listed["torch"]["n"] -= {"Tensor"}
    listed["torch"]["n"] |= {
        f"{kind}{what}"
        for kind in (
            "Float",
            "Double",
            "Half",
            "BFloat16",
            "Char",
            "Byte",
            "Short",
            "Int",
            "Long",
            "Bool",
            "ComplexFloat",
            "ComplexDouble",
            "QInt8",
            "QUInt8",
            "QInt32",
            "QUInt4x2",
            "QUInt2x4",
            "Untyped",
            "Typed",
        )
        for what in ("Storage", "Tensor")
    }
    listed["torch"]["n"] |= {f"float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")} | {
        "float4_e2m1fn_x2"
    }
    for module in ("torch.cuda", "torch.sparse"):
        listed[module]["n"] |= {name for name in listed["torch"]["n"] if name.endswith(("Storage", "Tensor"))}
    listed["torch._C._nn"]["n"] |= {name for name in vars(torch._C._nn) if not name.startswith("_")}
    listed["torch.storage"]["n"] |= {"_LegacyStorage", "_TypedStorage", "_UntypedStorage"}


def add_numpy(listed):
    """Add the functions of numbers, and the types of elements."""
    import ml_dtypes
    import numpy as np

    opens = (
        "load",
        "save",
        "from",
        "gen",
        "memmap",
        "Data",
        "show",
        "test",
        "vectorize",
        "apply",
        "get_include",
        "info",
        "piecewise",
    )
    functions = (np.ufunc, type(np.mean), types.FunctionType)
    numbers = {name for name, value in vars(np).items() if isinstance(value, functions) and not name.startswith(("_", *opens))}
    listed["numpy"]["n"] |= numbers
    listed["numpy.dtypes"]["c"] |= {name for name in vars(np.dtypes) if name.endswith("DType")}
    listed["ml_dtypes"]["c"] |= {
        name
        for name, value in vars(ml_dtypes).items()
        if isinstance(value, type) and name.islower() and name not in ("finfo", "iinfo")
    }


def add_others(listed):
    """Add what older versions of the frameworks called by another name."""
    older = {
        f"sklearn.{new.split('.')[1]}.{part.lstrip('_')}": new
        for new in list(listed)
        if new.startswith("sklearn.") and new.count(".") == 2
        for part in [new.split(".")[2]]
        if part.startswith("_")
    }
    for old, new in older.items():
        for kind, names in list(listed[new].items()):
            listed[old][kind] |= {name for name in names if not any(name in others for others in listed[old].values())}
    for module in list(listed):
        if module.startswith("torch.ao."):
            for kind, names in listed[module].items():
                listed[module.replace("torch.ao.", "torch.", 1)][kind] |= names
    for private in [module for module in listed if module.startswith("numpy._core")]:
        for kind, names in listed[private].items():
            listed[private.replace("_core", "core")][kind] |= names
    for module in [module for module in listed if module.startswith("joblib.")]:
        for kind, names in listed[module].items():
            listed[f"sklearn.externals.{module}"][kind] |= names


if __name__ == "__main__":
    sys.exit(main())
