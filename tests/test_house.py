"""Rules of the house that no linter knows."""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import carried
import numpy as np
import pytest

import steelyard
from steelyard import formats
from steelyard.core import plugins

SOURCE = Path(steelyard.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FRAMEWORKS = {
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "equinox",
    "sklearn",
    "skorch",
    "scikeras",
    "h5py",
    "safetensors",
    "onnxruntime",
    "scipy",
    "rich",
}


def modules_after(code):
    """Run `code` in a new Python, and return the first words of the modules that it loaded."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_steelyard_imports_no_framework_and_no_numpy():
    assert not modules_after("import steelyard") & (FRAMEWORKS | {"numpy", "ml_dtypes"})


def test_importing_steelyard_does_not_import_what_moves_weights_between_nets():
    script = "import steelyard, sys; print(any(name.startswith('steelyard.transfers') for name in sys.modules)); steelyard.transfer; steelyard.plan_transfer; steelyard.build; print('steelyard.transfers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\nTrue\n"
    assert set(steelyard.__all__) <= set(dir(steelyard))
    with pytest.raises(AttributeError, match="module 'steelyard' has no attribute 'transfere'"):
        steelyard.transfere  # noqa: B018 - asking is what fails


def test_pictures_are_there_after_importing_steelyard_and_matplotlib_when_one_is_asked_for():
    assert not modules_after("import steelyard; steelyard.plot; from steelyard import plot; dir(plot)") & {"matplotlib", "numpy"}
    assert "matplotlib" in modules_after("import steelyard; steelyard.plot.heatmap")
    drawn = {path.relative_to(SOURCE).parts[0] for path in FILES if "matplotlib" in modules_imported_by(path)}
    assert drawn == {"plot", "commands"}


def modules_imported_by(path):
    """Return the first words of all modules that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in named}


def test_listing_a_file_imports_no_framework_and_no_numpy(tmp_path):
    for name in ("a.safetensors", "a.npz", "a.rds"):
        steelyard.save({"w": np.zeros(3)}, tmp_path / name)
        loaded = modules_after(f"import steelyard; w = steelyard.weights({str(tmp_path / name)!r}); list(w.values()); w.size")
        assert not loaded & (FRAMEWORKS | {"numpy", "ml_dtypes"}), name


def test_listing_a_fit_of_r_imports_no_numpy():
    fit = str(carried.folder("r") / "nnet" / "nnet_big.rds")
    loaded = modules_after(f"import steelyard; w = steelyard.weights({fit!r}); list(w.values()); w.size; w.layers")
    assert not loaded & (FRAMEWORKS | {"numpy", "ml_dtypes"})


def test_the_tests_above_can_fail():
    assert "numpy" in modules_after("import steelyard; steelyard.weights({'w': 1.0})")


def test_reading_plain_arrays_imports_no_framework():
    assert not modules_after("import steelyard, numpy; steelyard.weights({'w': numpy.zeros(3)}).to_vector()") & FRAMEWORKS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_has_a_docstring_and_at_most_400_lines(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_function_is_shorter_than_60_lines(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 < 60, node.name


def test_any_is_rare():
    texts = [path.read_text() for path in FILES]
    assert sum(len(re.findall(r"\bAny\b", text)) for text in texts) < 0.02 * sum(text.count("\n") for text in texts)


def test_the_glossary_has_at_most_forty_words_and_the_code_uses_them():
    rows = re.findall(r"^\| ([a-z, ]+) \|", (SOURCE.parents[1] / "docs/glossary.md").read_text(), re.MULTILINE)
    words = [word for row in rows[1:] for word in row.split(", ")]
    code = " ".join(path.read_text().lower() for path in FILES)
    assert len(rows[1:]) <= 40
    assert not [word for word in words if not re.search(rf"\b{word}(s|es)?\b", code)]


ROOMS = {
    "where a PyTorch module's weights are listed": "frameworks/torch/weights.py",
    "how Keras models run": "frameworks/keras/graph.py",
    "what builds a scikit-learn perceptron": "frameworks/sklearn/build.py",
    "how GGUF blocks are dequantised": "formats/gguf/quantisation.py",
    "how a zip archive is read": "codecs/zip.py",
    "which limits a hostile file meets": "codecs/limits.py",
    "how a file is replaced whole or not at all": "storage/atomic.py",
    "how two nets are compared": "measures/diff/__init__.py",
    "what the command `convert` does": "commands/convert.py",
    "what the heat map of matplotlib is": "plot/_heatmap.py",
}


@pytest.mark.parametrize("what", ROOMS)
def test_a_newcomer_finds_the_room_by_its_name(what):
    assert (SOURCE / ROOMS[what]).is_file()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_class_is_extended_but_errors_protocols_and_plain_kinds(path):
    allowed = {
        "Protocol",
        "StrEnum",
        "NamedTuple",
        "TypedDict",
        "Mapping[str, Weight]",
        "Unpickler",
    }  # no other way makes it refuse names
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and path.name != "errors.py":
            bases = {ast.unparse(base).partition("Protocol[")[0] or "Protocol" for base in node.bases}
            assert bases <= allowed, f"{node.name} extends {bases - allowed}"


def test_only_a_framework_s_own_package_imports_it():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""] if isinstance(node, ast.ImportFrom) else []  # fmt: skip
            for name in names:
                word = name.partition(".")[0]
                if word in FRAMEWORKS - {"h5py", "scipy"}:
                    assert path.parent.parent.name == "frameworks", f"{path.name} imports {word}"


def test_no_module_is_taken_out_of_the_loaded_ones_instead_of_being_imported():
    for path in FILES:
        taken = [
            n
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Subscript) and ast.unparse(n.value) == "sys.modules"
        ]
        assert not taken, f"{path.name} hides an import: {ast.unparse(taken[0])}"


def test_no_name_is_escaped_twice_by_the_quotes_around_it():
    twice = re.compile(r"printable\([^{}]*\)!r|repr\(printable")
    assert [path.name for path in FILES if twice.search(path.read_text("utf-8"))] == []


def test_one_function_says_how_many_more_names_there_are():
    written = {path.name for path in FILES if re.search(r"\" and (\{len\([^}]*\} more|others)\" if", path.read_text())}
    assert written == {"errors.py"}, "first_of of steelyard.errors shortens a list of names"


def test_no_public_name_is_hidden_by_a_folder_or_module():
    beside = {path.stem for path in SOURCE.iterdir()}
    functions = {name for name in steelyard.__all__ if callable(getattr(steelyard, name))}
    assert not functions & beside


def test_the_table_of_suffixes_is_what_the_formats_say():
    own = {name: import_module(f"steelyard.formats.{name}").SUFFIXES for name in plugins.names("formats")}
    assert own == formats.SUFFIXES
    assert list(formats.SUFFIXES) == sorted(formats.SUFFIXES)


def test_every_plugin_offers_the_functions_of_its_protocol():
    for name in plugins.names("frameworks"):
        module = import_module(f"steelyard.frameworks.{name}")
        assert callable(module.weights), name
        assert callable(module.assign), name
        assert callable(getattr(module, "graph", None)) == callable(getattr(module, "run", None)), name
    for name in plugins.builders():
        assert callable(import_module(f"steelyard.frameworks.{name}").build), name
    for name in plugins.names("formats"):
        module = import_module(f"steelyard.formats.{name}")
        assert callable(module.sniff), name
        assert callable(module.read), name


def test_every_error_is_named_in_the_tree_of_the_docstring():
    from steelyard import errors

    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert name in errors.__doc__


def test_one_module_alone_knows_where_files_are_that_are_not_part_of_the_project():
    tests = Path(__file__).parent
    naming = {path.relative_to(tests).as_posix() for path in tests.rglob("*.py") if "STEELYARD_SHARED" in path.read_text()}
    assert naming == {"carried.py", "conftest.py", "test_house.py"}
