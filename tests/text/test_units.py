"""Bytes and counts are written the same in Python, and on the pages."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from toolchains import tool

from steelyard.text.units import counted, in_units

BYTES = {
    0: "0 bytes",
    1: "1 byte",
    999: "999 bytes",
    1000: "1.00 kB",
    9_990: "9.99 kB",
    9_996: "10.0 kB",
    99_960: "100 kB",
    999_499: "999 kB",
    999_500: "1.00 MB",
    12_582_912: "12.6 MB",
    2_147_483_648: "2.15 GB",
    7 * 10**15: "7.00 PB",
    10**18: "1000 PB",
}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("count", "text"), BYTES.items())
def test_bytes_have_three_digits_and_a_decimal_unit(count, text):
    assert in_units(count) == text


def test_the_pages_write_bytes_as_python_does():
    module = ROOT / "src/steelyard/inspector/page/data/text.js"
    asked = f"import({json.dumps(str(module))}).then((all) => console.log(JSON.stringify({[*BYTES]}.map(all.bytesText))))"
    ran = subprocess.run([tool("node"), "-e", asked], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == [*BYTES.values()]


def test_no_output_and_no_page_of_the_documentation_has_binary_units():
    binary = re.compile(r"[0-9}] ?[KMGTP]iB")
    texts = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "r/R").glob("*.R")]
    assert [path.name for path in texts if binary.search(path.read_text("utf-8"))] == []


def test_one_thing_is_not_counted_in_the_plural():
    assert [counted(count, "weight") for count in (0, 1, 1200)] == ["0 weights", "1 weight", "1,200 weights"]
