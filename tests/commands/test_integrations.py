"""The files under `integrations/` name commands, options and files that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations"
HOOKS = FOLDER / "pre-commit" / ".pre-commit-hooks.yaml"
FILES = [HOOKS, FOLDER / "pre-commit" / "README.md", FOLDER / "github" / "action.yml", FOLDER / "github" / "README.md"]


@pytest.fixture(scope="module")
def options():
    text = subprocess.run(
        [sys.executable, "-m", "steelyard", "check", "--help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"--[a-z][a-z-]+", text))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_option_of_a_file_is_one_of_check(path, options):
    text = path.read_text()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options
    assert set(re.findall(r"steelyard (\w+)", re.sub(r"https?://\S+", "", text))) & {"check"}


def test_pre_commit_finds_the_hook_at_the_root_and_it_takes_every_weight_file():
    assert (ROOT / ".pre-commit-hooks.yaml").read_bytes() == HOOKS.read_bytes()
    (hook,) = yaml.safe_load(HOOKS.read_text())
    assert {"id", "name", "entry", "language"} <= set(hook)
    from steelyard.formats import ALONGSIDE, SUFFIXES

    names = [
        f"net{suffix}" for suffixes in SUFFIXES.values() for suffix in suffixes if suffix[0] == "." and suffix not in ALONGSIDE
    ]
    others = (".gz", ".lz4", ".pth.tar", ".json", ".index", ".dcp", ".orbax", ".zarr")  # the last are folders
    assert not [name for name in names if not name.endswith(others) and not re.search(hook["files"], name)]


def test_the_action_gives_its_inputs_to_the_script_as_data():
    action = yaml.safe_load((FOLDER / "github" / "action.yml").read_text())
    (script,) = [step for step in action["runs"]["steps"] if step.get("name") == "Check the files"]
    assert "${{" not in script["run"]
    assert {re.search(r"inputs\.([\w-]+)", value)[1] for value in script["env"].values()} == set(action["inputs"])


def test_the_script_of_the_action_checks_each_path(tmp_path):
    action = yaml.safe_load((FOLDER / "github" / "action.yml").read_text())
    (script,) = [step["run"] for step in action["runs"]["steps"] if step.get("name") == "Check the files"]
    (tmp_path / "steelyard").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "steelyard").chmod(0o755)
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "PATHS": "a b.pt\n*.pt\n",
        "FAIL_ON": "error",
        "ALLOW": "my.Net",
        "BASELINE": "",
        "SARIF": "",
        "BOM": "",
    }
    said = subprocess.run(["bash", "-ec", script], env=env, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["check", "--fail-on", "error", "--allow", "my.Net", "--", "a b.pt", "*.pt"]
