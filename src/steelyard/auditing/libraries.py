"""Names that no list of the expected has: ordinary classes of known libraries, other classes, and whatever can run."""

from __future__ import annotations

import sys

LIBRARIES: dict[str, tuple[str, ...]] = {
    "accelerate": ("accelerate.",),
    "catboost": ("catboost.core",),
    "chemprop": ("chemprop.",),
    "datasets": ("datasets.features.",),
    "detectron2": ("detectron2.config.", "detectron2.layers.", "detectron2.modeling.", "detectron2.structures."),
    "diffusers": ("diffusers.models.", "diffusers.schedulers.", "diffusers.configuration_utils"),
    "dotmap": ("dotmap",),
    "easydict": ("easydict",),
    "fairseq": ("fairseq.data.dictionary", "fairseq.dataclass.", "fairseq.models.", "fairseq.modules."),
    "fastai": ("fastai.",),
    "fastcore": ("fastcore.",),
    "flax": ("flax.core.frozen_dict", "flax.linen.", "flax.struct", "flax.training.train_state"),
    "gensim": ("gensim.models.", "gensim.corpora."),
    "gym": ("gym.spaces.",),
    "gymnasium": ("gymnasium.spaces.",),
    "imblearn": ("imblearn.",),
    "lightgbm": ("lightgbm.basic", "lightgbm.sklearn"),
    "lightning": ("lightning.pytorch.", "lightning.fabric."),
    "ml_collections": ("ml_collections.",),
    "mmengine": ("mmengine.config.", "mmengine.logging."),
    "monai": ("monai.networks.", "monai.transforms."),
    "munch": ("munch",),
    "omegaconf": ("omegaconf.",),
    "optax": ("optax.",),
    "pandas": ("=pandas", "=pandas.arrays", "pandas.core.", "pandas._libs."),
    "peft": ("peft.tuners.", "peft.utils.", "peft.config"),
    "pytorch_lightning": ("pytorch_lightning.",),
    "pyro": ("pyro.distributions.", "pyro.nn."),
    "sentence_transformers": ("sentence_transformers.",),
    "spacy": ("spacy.",),
    "speechbrain": ("speechbrain.nnet.", "speechbrain.lobes."),
    "stable_baselines3": ("stable_baselines3.common.",),
    "timm": ("timm.",),
    "tokenizers": ("tokenizers",),
    "torch_geometric": ("torch_geometric.data.", "torch_geometric.nn."),
    "torchmetrics": ("torchmetrics.",),
    "torchvision": ("torchvision.models.", "torchvision.ops.", "torchvision.transforms.", "torchvision.tv_tensors."),
    "transformers": ("transformers.",),
    "ultralytics": ("ultralytics.nn.", "ultralytics.utils.", "ultralytics.engine.", "ultralytics.yolo.", "models.", "utils."),
    "xgboost": ("xgboost.core", "xgboost.sklearn"),
    "yacs": ("yacs.config",),
}
"""Libraries whose objects are usual in checkpoints, and the modules with their ordinary classes; "=" means one module alone."""

FRAMEWORKS = frozenset(
    {
        *("torch", "numpy", "sklearn", "scipy", "keras", "tensorflow", "jax", "jaxlib", "skorch", "joblib"),
        *("ml_dtypes", "torchgen", "functorch", "tf_keras", "equinox", "scikeras"),
    }
)
"""Packages of which the list of the expected has every name that was proven to run nothing."""

_RUNNING = frozenset(
    {
        *("IPython", "_pytest", "aiohttp", "anyio", "boto3", "celery", "cffi", "cloudpickle", "commands", "dask"),
        *("dill", "distutils", "docker", "fabric", "fsspec", "httplib", "httplib2", "httpx", "imp", "invoke"),
        *("ipykernel", "jsonpickle", "jupyter_client", "lib2to3", "asyncore", "asynchat", "smtpd", "mlflow", "nltk"),
        *("numba", "paramiko", "pexpect", "pip", "pkg_resources", "plumbum", "popen2", "psutil", "ptyprocess", "py"),
        *("pytest", "ray", "requests", "setuptools", "sh", "smart_open", "test", "tornado", "twisted", "urllib2"),
        *("urllib3", "wheel", "yaml", "zmq", "__builtin__", "builtins", "_distutils_hack", "posix", "nt", "ntpath"),
        *("posixpath", "exceptions", "copy_reg", "cPickle", "StringIO", "cStringIO", "Queue", "thread", "SocketServer"),
        *("BaseHTTPServer", "SimpleHTTPServer", "CGIHTTPServer", "xmlrpclib", "ConfigParser", "Tkinter", "triton"),
    }
)
"""Further packages, and modules of Python 2, with names that run or load code, start programs, or reach the network."""


CONTAINERS = frozenset(
    {
        ("dotmap", "DotMap"),
        ("easydict", "EasyDict"),
        ("flax.core.frozen_dict", "FrozenDict"),
        ("munch", "Munch"),
        ("pandas", "StringDtype"),
        ("pandas.core.internals.managers", "BlockManager"),
        ("pandas.core.internals.managers", "SingleBlockManager"),
        ("yacs.config", "CfgNode"),
        *(
            ("transformers.trainer_utils", name)
            for name in ("EvaluationStrategy", "HubStrategy", "IntervalStrategy", "SaveStrategy", "SchedulerType")
        ),
        ("transformers.training_args", "OptimizerNames"),
        ("transformers.training_args", "ParallelMode"),
    }
)
"""Classes of libraries that a pickle calls with their content: dicts and enumerations."""


def rule_of_name(module: str, name: str) -> str:
    """Return the rule for a name that is not expected.

    >>> rule_of_name("posix", "system"), rule_of_name("my.nets", "Net"), rule_of_name("pandas.core.frame", "DataFrame")
    ('pickle-name', 'pickle-unknown-class', 'pickle-known-class')
    """
    package = module.partition(".")[0]
    if package in _RUNNING or package in sys.stdlib_module_names:
        return "pickle-name"
    if "." in name and not (package not in FRAMEWORKS and all(map(looks_like_class, name.split(".")))):
        return "pickle-dotted-name"
    if not all(map(looks_like_class, name.split("."))):
        return "pickle-name"
    if package in FRAMEWORKS:
        return "pickle-unproven-class"
    prefixes = LIBRARIES.get(package, ())
    return "pickle-known-class" if any(_is_in(module, prefix) for prefix in prefixes) else "pickle-unknown-class"


def looks_like_class(name: str) -> bool:
    """Whether a name is written as classes are: a capital letter first, after underscores.

    >>> looks_like_class("_BaseNet"), looks_like_class("run"), looks_like_class("EVIL")
    (True, False, True)
    """
    first = name.lstrip("_")[:1]
    return first.isupper() and name.isidentifier()


def _is_in(module: str, prefix: str) -> bool:
    return module == prefix[1:] if prefix.startswith("=") else module.startswith(prefix) or module == prefix.rstrip(".")
