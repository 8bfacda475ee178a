"""`check` for teams: folders and patterns, rule ids, a baseline, trusted classes, SARIF and bills of materials."""

import json
import pickletools
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from steelyard.auditing.imports import imports
from steelyard.cli import main

ROOT = Path(__file__).parents[3]
RUNS = b"cos\nsystem\n(Vrm -rf /\ntR."
CLASS = b"cmy.nets\nNet\n)\x81."


def said(capsys, *args, status=0):
    assert main([str(arg) for arg in args]) == status
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a good file, one that runs code, a cut one, one of no known kind, an index with a shard, and no models."""
    files = tmp_path / "models"
    (files / "runs" / "deep").mkdir(parents=True)
    (files / ".git").mkdir()
    save_file({"w": np.ones((2, 2), np.float32)}, files / "good.safetensors", metadata={"license": "MIT"})
    (files / "evil.pkl").write_bytes(RUNS)
    (files / ".git" / "evil.pkl").write_bytes(RUNS)
    (files / "README.md").write_text("---\nlicense:\n- apache-2.0\n---\n# a card\n")
    (files / "runs" / "cut.safetensors").write_bytes((files / "good.safetensors").read_bytes()[:-1])
    (files / "runs" / "deep" / "a.bin").write_bytes(bytes(range(200, 256)) * 4)
    (files / "runs" / "deep" / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save_file({"a": np.zeros(2, np.float32)}, files / "runs" / "deep" / "net-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "net-00001-of-00001.safetensors"}}
    (files / "runs" / "deep" / "net.safetensors.index.json").write_text(json.dumps(index))
    monkeypatch.chdir(tmp_path)
    return Path("models")


def test_a_folder_is_looked_into_recursively_and_one_line_sums_it_up(folder, capsys):
    lines = said(capsys, "check", folder, status=3)
    assert [line.partition(": ")[0] for line in lines[:-1]] == [
        "models/evil.pkl",
        "models/good.safetensors",
        "models/runs/deep/a.bin",
        "models/runs/deep/net.safetensors.index.json",
    ]
    assert lines[0] == "models/evil.pkl: would have run os.system('rm -rf /') (evil.pkl, byte 23) [pickle-call]"
    total = "looked into 7 files: 1 would run code, 1 damaged, 2 without a model, 1 not looked into: runs/deep/a.bin"
    assert lines[-1] == total


def test_an_audit_alone_reads_no_numbers_and_takes_each_file_by_itself(folder, capsys):
    save_file({"w": np.full(2, np.nan, np.float32)}, folder / "runs" / "bad.safetensors")
    lines = said(capsys, "check", "--audit-only", folder, status=3)
    assert lines[:2] == [
        "models/README.md: nothing would run: looked into 1 part",
        "models/evil.pkl: would have run os.system('rm -rf /') (evil.pkl, byte 23) [pickle-call]",
    ]
    assert lines[-1] == "looked into 9 files: 1 would run code"
    assert "models/runs/deep/net-00001-of-00001.safetensors: nothing would run: looked into 1 part" in lines
    said(capsys, "check", folder / "runs" / "bad.safetensors", status=1)
    record = json.loads("".join(said(capsys, "check", "--audit-only", "--json", folder / "runs" / "bad.safetensors")))
    assert (record["outcome"], record["looked"], "readable" in record) == ("fine", 1, False)


def test_an_audit_alone_has_no_health(folder, capsys):
    with pytest.raises(SystemExit):
        main(["check", "--audit-only", "--health", str(folder)])
    assert "not allowed with argument" in capsys.readouterr().err


def test_the_components_of_a_pipeline_next_to_other_files_are_read_once(tmp_path, capsys):
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    for part in parts:
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
        save_file({"w": np.ones(3, np.float32)}, tmp_path / part / "diffusion_pytorch_model.safetensors")
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "other.safetensors")
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({"_class_name": "Pipe", **parts}))
    lines = said(capsys, "check", tmp_path)
    assert [Path(line.partition(": ")[0]).name for line in lines[:-1]] == ["other.safetensors", "unet", "vae"]
    index.write_text(json.dumps({"_class_name": "Pipe", **parts, "safety": ["os", "system"]}))
    assert "os.system" in said(capsys, "check", tmp_path, status=3)[0]


def test_a_pattern_reaches_all_folders_and_a_file_without_a_model_is_no_error_there(folder, capsys):
    assert said(capsys, "check", "models/**/*.pkl", status=3)[0].startswith("would have run os.system")
    total = "looked into 7 files: 1 would run code, 1 damaged, 2 without a model, 1 not looked into: runs/deep/a.bin"
    assert said(capsys, "check", "models/*", status=3)[-1] == total


def test_a_folder_of_files_that_are_all_fine_has_status_0_and_one_without_models_is_an_error(folder, capsys):
    (folder / "evil.pkl").unlink()
    shutil.rmtree(folder / "runs")
    shutil.copy(folder / "good.safetensors", folder / "other.safetensors")
    assert said(capsys, "check", folder)[-1] == "looked into 3 files: nothing would run, 1 without a model"
    (folder / "good.safetensors").unlink()
    (folder / "other.safetensors").unlink()
    assert main(["check", str(folder)]) == 2
    assert capsys.readouterr().err == "error: models: no model among 1 file\n"


def test_json_of_several_files_has_their_outcomes_rules_and_the_summary(folder, capsys):
    record = json.loads("\n".join(said(capsys, "check", folder, "--json", status=3)))
    assert record["summary"] == {
        "files": 7, "code": 1, "damaged": 1, "found": 0, "no_model": 2, "known": 0, "unread": ["models/runs/deep/a.bin"],
    }  # fmt: skip
    outcomes = {each["file"]: each.get("outcome", "error") for each in record["files"]}
    assert outcomes["models/evil.pkl"] == "code"
    assert outcomes["models/runs/cut.safetensors"] == "error"
    (finding,) = next(each for each in record["files"] if each["file"] == "models/evil.pkl")["findings"]
    assert (finding["rule"], finding["kind"]) == ("pickle-call", "code")


def test_a_baseline_holds_for_the_same_bytes_and_rule_only(folder, capsys):
    evil = folder / "evil.pkl"
    assert said(capsys, "check", evil, "--write-baseline", "known.json") == said(capsys, "check", evil, status=3)
    assert said(capsys, "check", evil, "--baseline", "known.json") == ["2 findings of the baseline"]
    assert said(capsys, "check", folder, "--baseline", "known.json", status=2)[-1].startswith("looked into 7 files: 1 damaged")
    evil.write_bytes(RUNS.replace(b"rm", b"ls"))
    assert "pickle-call" in said(capsys, "check", evil, "--baseline", "known.json", status=3)[0]
    (folder / "README.md").write_text("{}")
    assert main(["check", str(evil), "--baseline", str(folder / "README.md")]) == 2
    assert "is not a baseline" in capsys.readouterr().err


def test_an_allowed_class_is_info_and_a_function_never_is(folder, capsys):
    path = folder / "net.pkl"
    path.write_bytes(CLASS)
    assert "[pickle-unknown-class]" in said(capsys, "check", path, status=2)[0]
    record = json.loads("\n".join(said(capsys, "check", path, "--allow", "my.nets.Net", "--json", status=2)))
    assert [each["severity"] for each in record["findings"] if each["kind"] == "code"] == ["info"]
    assert "os.system" in said(capsys, "check", folder / "evil.pkl", "--allow", "os.system", status=3)[0]


@pytest.mark.parametrize(
    ("stream", "severity"),
    [
        (b"cmy.nets(a).b\nEvil\n(Va\ntR.", "warning"),
        (b"cmy.nets\nNet2\n)\x81.", "warning"),
        (b"cmy.nets\nNet\n(cyour.nets\nNet\ntR.", "warning"),  # an argument of a class that is not allowed
        (b"cmy.nets\nNet\n(Va\ntR.", "info"),
    ],
)
def test_a_name_that_only_looks_like_an_allowed_class_is_not_allowed(folder, capsys, stream, severity):
    (folder / "net.pkl").write_bytes(stream)
    lines = said(capsys, "check", folder / "net.pkl", "--allow", "my.nets", "--allow", "my.nets.Net", "--json", status=2)
    (finding,) = [each for each in json.loads("\n".join(lines))["findings"] if each["kind"] == "code"]
    assert finding["severity"] == severity


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", {"module": "my.nets", "class_name": "Net", "config": {}, "registered_name": "Net"}),
        ("config.json", {"_target_": "my.nets.Net"}),
    ],
)
def test_a_class_that_a_config_names_is_allowed_by_module_and_name(tmp_path, capsys, name, text):
    (tmp_path / name).write_text(json.dumps(text))
    said(capsys, "check", "--audit-only", tmp_path / name, status=1)
    said(capsys, "check", "--audit-only", tmp_path / name, "--allow", "my.nets.Net")


def test_sarif_has_what_its_schema_requires(folder, capsys):
    said(capsys, "check", folder, "--sarif", "found.sarif", status=3)
    record = json.loads(Path("found.sarif").read_text())
    assert (record["version"], len(record["runs"])) == ("2.1.0", 1)
    driver, results = record["runs"][0]["tool"]["driver"], record["runs"][0]["results"]
    rules = driver["rules"]
    assert driver["name"] == "Steelyard"
    for rule in rules:
        assert "helpUri" not in rule  # the schema wants an absolute address, and the docs have none
        page, _, section = rule["help"]["text"].split("See ")[1].split(" ")[0].partition("#")
        assert f"\n### {section}\n\n{rule['shortDescription']['text']}" in (ROOT / "docs" / page).read_text()
    for result in results:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
    found = {(each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], each["ruleId"]) for each in results}
    assert found == {
        ("models/evil.pkl", "pickle-call"),
        ("models/runs/cut.safetensors", "damaged"),
        ("models/runs/deep/a.bin", "not-looked-into"),
    }


def test_a_bill_of_materials_names_the_files_of_a_model_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net").mkdir()
    save_file({"fc.weight": np.ones((2, 3), np.float32)}, "net/model.safetensors")
    Path("net/config.json").write_text('{"model_type": "bert"}')
    Path("net/loop.txt").symlink_to("loop.txt")
    main(["check", "net", "--bom", "a.json"])
    (model,) = json.loads(Path("a.json").read_text())["components"]
    facts = {each["name"].removeprefix("steelyard:"): each["value"] for each in model["properties"]}
    files = {each["name"]: each for each in model["components"]}
    assert facts["not-opened"] == "loop.txt"
    assert "hashes" not in files["loop.txt"]
    assert facts["bytes"] == str(Path("net/model.safetensors").stat().st_size + 22)
    assert "steelyard:bytes" not in {each["name"] for each in files["loop.txt"]["properties"]}


def test_a_bill_of_materials_has_digests_licences_and_findings_and_is_equal_for_equal_files(folder, capsys, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    said(capsys, "check", folder, "--bom", "a.json", status=3)
    shutil.copytree(folder, "elsewhere")
    said(capsys, "check", "elsewhere", "--bom", "b.json", status=3)
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    record = json.loads(Path("a.json").read_text())
    assert (record["bomFormat"], record["specVersion"], "serialNumber" in record) == ("CycloneDX", "1.6", False)
    components = {each["name"]: each for each in record["components"]}
    assert len({each["bom-ref"] for each in record["components"]}) == 7
    good, evil, card = components["good.safetensors"], components["evil.pkl"], components["README.md"]
    assert [each["type"] for each in (good, evil, card)] == ["machine-learning-model", "machine-learning-model", "file"]
    assert good["licenses"] == [{"license": {"id": "MIT"}}, {"license": {"id": "Apache-2.0"}}]
    assert {"name": "steelyard:format", "value": "safetensors"} in good["properties"]
    assert any("pickle-call" in each["value"] for each in evil["properties"])
    from hashlib import sha256

    assert good["hashes"] == [{"alg": "SHA-256", "content": sha256((folder / "good.safetensors").read_bytes()).hexdigest()}]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    said(capsys, "check", folder, "--bom", "c.json", status=3)
    assert json.loads(Path("c.json").read_text())["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"


def test_a_bill_of_single_files_names_them_from_the_folder_that_they_share(folder, capsys, tmp_path):
    good, cut = folder / "good.safetensors", folder / "runs" / "cut.safetensors"
    for paths, names in (([good], ["good.safetensors"]), ([good, cut], ["good.safetensors", "runs/cut.safetensors"])):
        said(capsys, "check", *(tmp_path / path for path in paths), "--bom", "a.json", status=2 if cut in paths else 0)
        assert [each["name"] for each in json.loads(Path("a.json").read_text())["components"]] == names


def test_a_folder_that_is_one_model_is_one_line_and_its_files_are_in_the_bill(folder, capsys):
    (folder / "runs" / "deep" / "a.bin").unlink()
    assert said(capsys, "check", folder / "runs" / "deep", "--bom", "a.json") == ["readable, complete, finite: 1 weight"]
    (component,) = json.loads(Path("a.json").read_text())["components"]
    assert component["name"] == "deep"
    assert len(component["components"]) == 3
    assert "hashes" not in component


def test_imports_lists_what_pickletools_lists_in_every_nested_pickle(tmp_path, capsys):
    import torch

    torch.save({"w": torch.ones(2), "b": torch.ones(2)}, tmp_path / "net.pt")
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pt") as archive:
        data = archive.read("net/data.pkl")
    named = [arg.replace(" ", ".") for opcode, arg, _ in pickletools.genops(data) if opcode.name == "GLOBAL"]
    assert list(imports(tmp_path / "net.pt")) == sorted(set(named))
    lines = said(capsys, "check", tmp_path / "net.pt", "--imports")
    assert lines[1:] == [f"names {name}" for name in sorted(set(named))]
    (tmp_path / "twice.pkl").write_bytes(b"\x80\x02(cos\ngetcwd\ncos\ngetcwd\ncmy\nNet\nt.")
    assert imports(tmp_path / "twice.pkl") == {"my.Net": 1, "os.getcwd": 2}
    record = json.loads("\n".join(said(capsys, "check", tmp_path / "twice.pkl", "--imports", "--json", status=3)))
    assert record["imports"] == {"my.Net": 1, "os.getcwd": 2}


def test_a_saved_model_of_a_folder_that_lacks_its_numbers_is_no_file_without_a_model(tmp_path, capsys):
    prefix = tf.train.Checkpoint(v=tf.Variable(np.arange(5.0), name="v")).write(str(tmp_path / "variables" / "variables"))
    (tmp_path / "saved_model.pb").write_bytes(b"")
    Path(f"{prefix}.data-00000-of-00001").unlink()
    *lines, total = said(capsys, "check", tmp_path, status=1)
    assert [line.count("the shard 'variables.data-00000-of-00001' is missing") for line in lines] == [1, 1]
    assert total == "looked into 2 files: 2 not looked into: saved_model.pb, variables/variables.index"
