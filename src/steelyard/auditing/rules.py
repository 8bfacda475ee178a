"""The rules of the audit, each with a stable id, a severity, and a sentence; docs/audit.md has a section for each."""

from __future__ import annotations

RUNS, DAMAGED, UNREAD, NOTED = "runs", "damaged", "unread", "noted"
"""What a finding means: loading runs code or reaches out of the file; damage; a part that was not looked into; a remark."""


class Rule:
    """One rule: its `severity` ("info", "warning", "error"), its `outcome`, and its sentence."""

    __slots__ = ("outcome", "sentence", "severity")

    def __init__(self, severity: str, outcome: str, sentence: str) -> None:
        self.severity = severity
        self.outcome = outcome
        self.sentence = sentence

    @property
    def runs(self) -> bool:
        """Whether the finding means that loading runs code, or reaches out of the file."""
        return self.outcome == RUNS


RULES: dict[str, Rule] = {
    "pickle-call": Rule("error", RUNS, "A pickle calls a function, or a class that is not made to hold data."),
    "pickle-name": Rule("error", RUNS, "A pickle names a function that weights do not need; naming it imports its module."),
    "pickle-dotted-name": Rule("error", RUNS, "A pickle reaches an attribute of an attribute, by a name with dots."),
    "pickle-argument": Rule("error", RUNS, "A pickle calls a function of a list with arguments that make it run something else."),
    "pickle-computed-call": Rule("error", RUNS, "A pickle calls what another call returns."),
    "pickle-state": Rule("error", RUNS, "A pickle changes a class or module, or the methods of an object."),
    "pickle-outside": Rule("error", RUNS, "A pickle takes objects from a registry outside the file."),
    "pickle-unknown-class": Rule("warning", NOTED, "A pickle makes an object of a class that no list knows; its code would run."),
    "pickle-unproven-class": Rule("warning", NOTED, "A pickle makes an object of a class of a framework in an unusual way."),
    "pickle-constructor": Rule("warning", NOTED, "A pickle calls a class of a known library, whose constructor would run."),
    "pickle-known-class": Rule("info", NOTED, "A pickle makes an object of an ordinary class of a known library."),
    "pickle-damaged": Rule("warning", DAMAGED, "A pickle is damaged; what precedes the damage would have run."),
    "trailing-bytes": Rule("warning", UNREAD, "Bytes follow the end of the content, and nothing describes them."),
    "native-code": Rule("error", RUNS, "A file contains a compiled program or library."),
    "path-traversal": Rule("error", RUNS, "An archive names a file outside its folder."),
    "zip-ambiguous": Rule("warning", DAMAGED, "A zip archive is damaged, or two readers could understand it differently."),
    "damaged": Rule("warning", DAMAGED, "The content is damaged."),
    "not-looked-into": Rule("warning", UNREAD, "A part is nested too deeply, too large, or needs an extra to be read."),
    "skops-type": Rule("error", RUNS, "A skops schema names a type that weights do not need."),
    "keras-code": Rule("error", RUNS, "A Keras config contains compiled Python code, as Lambda layers do."),
    "keras-lambda": Rule("warning", NOTED, "A Keras config has a Lambda layer that calls a registered function."),
    "keras-runs": Rule("error", RUNS, "A Keras config has a layer that loads code, or reads a file that the config names."),
    "keras-function": Rule("error", RUNS, "A Keras config names a function or module that models do not need."),
    "keras-file": Rule("error", RUNS, "A Keras config names a file or an address, which loading would read."),
    "keras-unsafe-mode": Rule("error", RUNS, "A Keras config asks for loading without Keras' safe mode."),
    "keras-unknown-class": Rule("warning", NOTED, "A Keras config names a class that no list knows; its code would run."),
    "keras-saved-class": Rule("info", NOTED, "A SavedModel has a layer of a class that Keras does not have; its graph is saved."),
    "keras-known-class": Rule("info", NOTED, "A Keras config names a class of a known library."),
    "hdf5-outside": Rule("error", RUNS, "An HDF5 file has a link or a dataset whose content is in another file."),
    "template-internals": Rule(
        "error", RUNS, "A chat template reaches the internals of Python, from which it can call anything."
    ),
    "template-filter": Rule("error", RUNS, "A chat template takes attributes by a filter, with names that it hides or computes."),
    "template-call": Rule("error", RUNS, "A chat template calls a function that runs code, or opens a file."),
    "template-import": Rule("error", RUNS, "A chat template loads another template."),
    "template-hidden-text": Rule("warning", NOTED, "A chat template adds code for browsers, or text that depends on a word."),
    "template-address": Rule("info", NOTED, "A chat template writes an address into what a model reads."),
    "hub-remote-code": Rule("error", RUNS, "A config names classes whose code is in another repository."),
    "hub-trusts-code": Rule("error", RUNS, "A config asks its loader to trust code that comes with the model."),
    "hub-own-code": Rule("warning", NOTED, "A config names classes whose code comes with the model; trust_remote_code runs it."),
    "hub-function": Rule(
        "error", RUNS, "A config names a function or module that models do not need, and a loader would import."
    ),
    "hub-unknown-class": Rule("warning", NOTED, "A config names a class that no list knows; a loader would import its module."),
    "hub-outside": Rule("error", RUNS, "A config names a file outside its folder."),
    "python-code": Rule("warning", NOTED, "Python source comes with a model; a loader may run it."),
    "python-code-runs": Rule("error", RUNS, "Python source that comes with a model starts programs, runs code or reaches out."),
    "yaml-object": Rule("error", RUNS, "A YAML file makes Python objects, or names functions that a loader would call."),
    "onnx-python": Rule("error", RUNS, "An ONNX model has an operator that runs Python, a program or a library."),
    "onnx-outside": Rule("error", RUNS, "An ONNX model names a file outside its folder, or an address."),
    "onnx-custom-domain": Rule("warning", NOTED, "An ONNX model has operators of a library that no list knows."),
    "onnx-known-domain": Rule("info", NOTED, "An ONNX model has operators of a known library."),
    "tf-python": Rule("error", RUNS, "A graph of TensorFlow calls a function of Python."),
    "tf-outside": Rule("error", RUNS, "A graph of TensorFlow reads or writes files, or reaches the network."),
    "tf-custom-op": Rule("warning", NOTED, "A graph of TensorFlow has an operator of a library."),
    "tflite-custom-op": Rule("warning", NOTED, "A TensorFlow Lite model has an operator that no list knows."),
    "tflite-known-op": Rule("info", NOTED, "A TensorFlow Lite model has an operator of TensorFlow or of a known library."),
    "paddle-python": Rule("error", RUNS, "A program of Paddle calls a function of Python."),
    "paddle-outside": Rule("error", RUNS, "A program of Paddle reads or writes files, or reaches the network."),
    "coreml-custom-class": Rule("warning", NOTED, "A model of Core ML has a layer or model of a class that an app has to bring."),
    "coreml-outside": Rule("error", RUNS, "A model of Core ML names a model outside its folder."),
    "r-promise": Rule("error", RUNS, "An R file has a promise, which R evaluates when its value is used."),
    "r-active-binding": Rule("error", RUNS, "An R file has an active binding, a function that R calls when the value is used."),
    "r-call": Rule("error", RUNS, "An R file has calls that start programs, load code, or reach files or the network."),
    "r-function": Rule("warning", NOTED, "An R file has a function that starts programs, loads code, or reaches out."),
    "r-outside": Rule("error", RUNS, "An R file has a vector whose content is in another file, which R opens."),
    "r-unknown-type": Rule("warning", NOTED, "An R file has an object of a type that only a package of R can make."),
    "r-masks": Rule("error", RUNS, "An R session replaces a function that R calls by itself, or a common one."),
    "r-code": Rule("info", NOTED, "An R file has functions or calls, which R runs only if something uses them."),
    "skops-reduce": Rule("error", RUNS, "A skops schema has a node that calls a function or takes a method."),
    "torchscript-outside": Rule("error", RUNS, "A TorchScript program or exported program reads or writes files."),
    "torchscript-custom-op": Rule(
        "warning", NOTED, "A TorchScript program or exported program uses operators that no list knows."
    ),
    "metadata-code": Rule("info", NOTED, "Metadata has text that looks like code."),
}
"""All rules by id; an id never changes its meaning."""
