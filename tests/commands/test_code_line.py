"""Each command ends with one line on stderr if loading its file with the file's own library would run code."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main


class Payload:
    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        import os

        return os.system, (self.text,)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    torch.save({"w": torch.ones(3), "a": Payload("one"), "b": Payload("two")}, folder / "evil.pt")
    torch.save({"w": torch.ones(3)}, folder / "good.pt")
    save_file({"w": np.ones(3, np.float32)}, folder / "good.safetensors")
    return folder


COMMANDS = {
    "ls": "ls {file}",
    "show": "show {file}",
    "metadata": "show {file} --metadata",
    "stats": "stats {file}",
    "layers": "layers {file}",
    "size": "size {file}",
    "grid": "grid {file}",
    "grid of changes": "grid {good} --before {file}",
    "digest": "digest {file}",
    "diff": "diff {file} {good}",
    "convert": "convert {file} {out}/out.npz",
    "export": "export {file} -o {out}/net.h",
    "vector": "vector {file} -o {out}/v.npy",
    "report": "report {file} -o {out}/page.html --spectra none",
    "average": "average {file} {good} -o {out}/out.npz",
    "merge": "merge {file} {good} -o {out}/out.npz",
    "transfer": "transfer {good} --into {file} --plan",
}


def run(case, file, files, out, *more):
    words = COMMANDS[case].format(file=file, good=files / "good.safetensors", out=out).split()
    return main([*words, *more])


@pytest.mark.parametrize("case", COMMANDS)
def test_the_last_line_of_a_command_names_what_loading_its_file_would_run(case, files, tmp_path, capsys):
    assert run(case, files / "evil.pt", files, tmp_path) == 0
    line = (
        f"warning: loading {files / 'evil.pt'} with its own library would run posix.system('one') and 1 more; see steelyard check"
    )
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert run(case, files / "good.pt", files, tmp_path) == 0
    assert "would run" not in capsys.readouterr().err


@pytest.mark.parametrize("case", COMMANDS)
def test_json_has_it_in_a_field_and_stays_one_document(case, files, tmp_path, capsys):
    run(case, files / "evil.pt", files, tmp_path, "--json")
    record = json.loads(capsys.readouterr().out)
    found = record["would_run"]
    found = found[str(files / "evil.pt")] if isinstance(found, dict) else found
    assert found == ["would have run posix.system('one')", "would have run posix.system('two')"]


def test_a_report_has_it_in_its_page(files):
    from steelyard.inspector.index import index_of, open_source, rows_of

    sources = [open_source(files / "evil.pt")]
    rows, _ = rows_of(sources)
    assert "posix.system('one')" in index_of(sources, rows, live=False)["findings"][0]["what"]


def test_a_file_of_numbers_alone_is_not_audited_and_none_imports_pathlib_or_importlib_resources(files):
    code = """
import sys
from steelyard.cli import main
main(["ls", sys.argv[1]])
print(*sys.modules)
"""
    for name, expected in (("good.safetensors", False), ("good.pt", True)):
        run = subprocess.run([sys.executable, "-c", code, str(files / name)], capture_output=True, text=True, check=True)
        loaded = run.stdout.splitlines()[-1].split()
        assert ("steelyard.auditing.walk" in loaded) == expected
        assert not {"importlib.resources", "numpy", "dataclasses", "inspect"} & set(loaded)


def test_the_quick_audit_finds_what_a_nested_pickle_in_a_state_would_run(tmp_path):
    from steelyard.auditing.quick import would_run

    inner = b"cos\nsystem\n(Vdeep\ntR."
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02ctorch.storage\n_load_from_bytes\nC" + bytes([len(inner)]) + inner + b"\x85R.")
    found = would_run(str(tmp_path / "a.pkl"))
    assert any("os.system('deep')" in each for each in found) == any(
        "os.system('deep')" in each.what for each in steelyard.audit(tmp_path / "a.pkl").findings
    )
    assert found


def test_the_quick_audit_looks_into_what_follows_the_tensors_of_safetensors(files, tmp_path):
    from steelyard.auditing.quick import would_run

    whole = (files / "good.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole + b"\x80\x04cos\nsystem\n(Vx\ntR.")
    assert would_run(str(tmp_path / "a.safetensors")) == ["would have run os.system('x')"]
    assert not would_run(str(files / "good.safetensors"))


def test_the_quick_audit_skips_a_storage_only_where_all_readers_see_one(tmp_path):
    import zipfile

    from steelyard.auditing.quick import would_run

    evil, path = b"cos\nsystem\n(Vx\ntR.", tmp_path / "a.zip"
    for name, expected in (("a/data/0", []), ("a/data/x", ["would have run os.system('x')"])):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, evil)
            archive.writestr("a/other.txt", "text")
        assert would_run(str(path)) == expected
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a/data/x", b"a/data/0", 1))  # its own header says that it is a storage
    assert would_run(str(path)) == ["would have run os.system('x')"]
