"""The docs page of the audit has a section for each rule; run with UPDATE_DOCS=1 to write it again."""

import os
import re
from pathlib import Path

from steelyard.auditing.rules import DAMAGED, NOTED, RULES, RUNS, UNREAD

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit.md"
OUTCOMES = {RUNS: "would run code", DAMAGED: "damaged", UNREAD: "not looked into", NOTED: "a remark"}
INTRODUCTION = """\
# What a file would do if it were loaded

Many weight files are programs: a pickle calls functions when it is loaded. `steelyard.audit` lists these calls, and other ways in
which a file would run code or reach out of its folder. It runs nothing, imports nothing and reads no number, and it audits files
that cannot be read as weights too.

```python
>>> import os, steelyard, tempfile
>>> path = os.path.join(tempfile.mkdtemp(), "model.pkl")
>>> with open(path, "wb") as file:
...     _ = file.write(b"cos\\nsystem\\n(Vrm -rf /\\ntR.")
>>> found = steelyard.audit(path)
>>> found.would_run
True
>>> print(found)
error: would have run os.system('rm -rf /') (model.pkl, byte 23)

```

The weights of a file answer the same: `steelyard.weights(path).audit`. `steelyard check` prints the findings, and exits with
status 3 if loading the file would run code, with 2 if it is damaged or cannot be read, with 1 for other findings of at least
the severity `--fail-on`, and otherwise with 0. [Checking the files of a team](check.md) has folders, baselines and reports for
other tools.

An audit looks into everything that a loader may open: zip and tar archives of whatever suffix, compressed streams, pickles in
pickles and after them, arrays of objects, bytes in a pickle, bytes after its end, and each file of a folder. It follows them to
a depth of 16. What it cannot look into is a finding of its own.

Of formats that are not pickles the text is judged, and nothing is rendered or imported: configs of Keras and of the Hugging Face
Hub, chat templates, YAML, Python source beside a model, operators of ONNX, TensorFlow, TensorFlow Lite, TorchScript and Paddle,
classes of Core ML, types of skops, promises and calls of R, and metadata. A name that is built from parts or escapes counts as
the name that it makes.

A name of a pickle is expected only if a list has it. `scripts/expected.py` writes the list from the installed frameworks, and
proves for each class that the methods which an unpickler calls run nothing else; functions were read by a person. A function
that calls its arguments is expected only with certain ones. Names with dots are never expected.

| severity | meaning |
|---|---|
| error | loading runs code or reaches out of the file: functions, loaders, classes known to do more than hold data |
| warning | a class that no list knows, damage, or a part that was not looked into |
| info | an ordinary class of a known library |

## Rules
"""


def page():
    sections = [
        f"### {name}\n\n{rule.sentence} Severity: {rule.severity}. Outcome: {OUTCOMES[rule.outcome]}.\n"
        for name, rule in sorted(RULES.items())
    ]
    return INTRODUCTION + "\n" + "\n".join(sections)


def test_the_page_has_a_section_for_each_rule():
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_each_rule_that_an_auditor_uses_is_in_the_table_and_each_in_the_table_is_used():
    sources = {path: path.read_text() for path in (ROOT / "src/steelyard/auditing").glob("*.py") if path.name != "rules.py"}
    words = {word for text in sources.values() for word in re.findall(r'"([a-z][a-z0-9]*(?:-[a-z0-9]+)*)"', text)}
    assert set(RULES) <= words
    assert {rule.severity for rule in RULES.values()} == {"info", "warning", "error"}
    assert all(rule.severity == "error" for rule in RULES.values() if rule.outcome == RUNS)
