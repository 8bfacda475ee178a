"""What the README promises; the pages of the docs are run as doctests."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from torch import nn

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_shows_code_in_its_first_twenty_lines_and_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert README[: README.index(code)].count("\n") < 20
    net = nn.Module()
    net.fc1 = nn.Linear(128, 10)
    before = net.fc1.bias.detach().numpy().copy()
    exec(code, {"net": net})
    assert np.array_equal(net.fc1.bias.detach().numpy(), before * 0.5)
    assert (tmp_path / "net.safetensors").exists()


def test_the_readme_holds_exactly_two_set_up_commands():
    assert re.findall(r"```sh\n(.*?)```", README, re.DOTALL) == ["scripts/tour\n", "scripts/test\n"]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w/.-]+)\)", README))))
def test_what_the_readme_links_to_is_there(link):
    assert (ROOT / link).exists()


def test_the_figures_of_the_page_on_security_are_what_its_script_counts():
    script = runpy.run_path(str(ROOT / "scripts" / "security.py"))
    text = script["PAGE"].read_text()
    assert script["page"](text) == text, "run scripts/security"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "zensical.toml").read_text()
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f'"{page.name}"' not in navigation]
