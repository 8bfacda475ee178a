"""The audit beside other scanners: python benchmarks/audit.py FOLDER [TOOL ...]

The files run something if they are loaded, or are real files that run nothing; nothing is loaded. Each tool runs in
an environment of its own in FOLDER, which is made where it is not there yet, and its verdicts are kept there. Without TOOL all
run. The tables in docs/security.md are written from all verdicts that FOLDER has.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import audit_cases
from bypasses import bypasses

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- audit: benchmarks/audit.py -->", "<!-- end of audit -->"
NEEDED = {
    "steelyard": None,
    "picklescan": ["picklescan", "numpy"],
    "modelscan": ["modelscan", "h5py", "tensorflow-cpu"],
    "fickling": ["fickling", "typing_extensions"],
    "modelaudit": ["modelaudit"],
    "hayward": ["hayward"],
    "weightguard": ["weightguard"],
}
"""The packages of each tool, and those without which it skips formats; Steelyard is the one that runs this."""
SHOWN = {"picklescan": "picklescan --strict"}
QUIET = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}


def python_of(tool, folder):
    """Return the Python of a tool's environment, which is made where it is not there yet."""
    if NEEDED[tool] is None:
        return sys.executable
    python = folder / tool / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / tool], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDED[tool]], check=True)
    return python


def files(folder):
    """Return all files, by what the tables call them: a kind and the file, the id of a bypass, or a benign file."""
    written = folder / "bypasses"
    written.mkdir(exist_ok=True)
    for each in bypasses():
        (written / each.file).write_bytes(each.data)
    found = {f"{kind}: {path.name}, {path.parent.name}": path for kind, paths in audit_cases.cases().items() for path in paths}
    found |= {each.file: written / each.file for each in bypasses()}
    return found | {f"benign: {path}": path for path in audit_cases.benign()}


def measured(tool, folder):
    """Return the version of a tool, its verdicts, and the processor time that it took."""
    named = files(folder)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(__file__).parent / "audit_peers.py"
    paths = json.dumps([str(path) for path in named.values()])
    done = subprocess.run(
        [python_of(tool, folder), script, tool], input=paths, capture_output=True, text=True, env=os.environ | QUIET, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(done.stdout)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"version": result["version"], "seconds": seconds, "verdicts": dict(zip(named, result["verdicts"], strict=True))}


def cell(verdicts):
    """Return how many files a tool would warn of, and on how many it gave up."""
    gave_up = verdicts.count(audit_cases.GAVE_UP)
    return f"{verdicts.count(audit_cases.FOUND)}{f' + {gave_up} errors' if gave_up else ''}"


def kinds(results):
    """Return the lines of the table of kinds."""
    lines = [row("kind of file", "files", *(title(tool, result) for tool, result in results.items()))]
    lines.append("|---" * (2 + len(results)) + "|")
    for kind, paths in audit_cases.cases().items():
        names = [f"{kind}: {path.name}, {path.parent.name}" for path in paths]
        lines.append(row(kind, len(names), *(cell([each["verdicts"][name] for name in names]) for each in results.values())))
    names = [f"benign: {path}" for path in audit_cases.benign()]
    lines.append(
        row("real files of packages", len(names), *(cell([each["verdicts"][n] for n in names]) for each in results.values()))
    )
    return [*lines, row("processor seconds", "", *(f"{each['seconds']:.0f}" for each in results.values()))]


def known(results):
    """Return the lines of the table of public bypasses."""
    lines = [row("advisory", "of", "what", *results), "|---" * (3 + len(results)) + "|"]
    return lines + [
        row(each.id, each.of, each.shown, *(result["verdicts"][each.file] for result in results.values())) for each in bypasses()
    ]


def title(tool, result):
    return tool if tool == "steelyard" else f"{SHOWN.get(tool, tool)} {result['version']}"


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def write(results):
    """Write both tables into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    lines = [BEGIN, "", *kinds(results), "", *known(results), "", END]
    PAGE.write_text(before + "\n".join(lines) + rest.split(END)[1])


if __name__ == "__main__":
    folder, tools = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(NEEDED)
    folder.mkdir(parents=True, exist_ok=True)
    for tool in tools:
        result = measured(tool, folder)
        (folder / f"{tool}.json").write_text(json.dumps(result))
        print(f"{tool} {result['version']}: {result['seconds']:.0f} s")
    kept = [tool for tool in NEEDED if (folder / f"{tool}.json").exists()]
    write({tool: json.loads((folder / f"{tool}.json").read_text()) for tool in kept})
