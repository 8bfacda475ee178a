"""The documentation for programs that read text: llms.txt, llms-full.txt and the pages as Markdown, into a built site.

Run `python scripts/llms.py [SITE]` after `zensical build`; scripts/docs does. The reference has the docstrings in full.
"""

import inspect
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def pages(entries):
    """Yield the file of each page, in the order of the navigation."""
    for entry in entries:
        for found in entry.values():
            yield from [found] if isinstance(found, str) else pages(found)


def documented(path):
    """Return the signature and the docstring of an object, and of its public methods."""
    found, parts = None, path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        break
    for part in parts[length:]:
        found = getattr(found, part)
    lines = [f"## {path}{signature(found)}", "", inspect.getdoc(found) or "", ""]
    if inspect.isclass(found):
        for name, method in vars(found).items():
            if not name.startswith("_") and inspect.getdoc(method):
                lines += [f"### {path}.{name}{signature(method)}", "", inspect.getdoc(method), ""]
    return "\n".join(lines)


def signature(found):
    try:
        return str(inspect.signature(found))
    except (TypeError, ValueError):
        return ""


def text_of(page):
    return re.sub(r"^::: (\S+)$", lambda match: documented(match[1]), (DOCS / page).read_text(), flags=re.MULTILINE)


def first_sentences(text):
    """Return the first paragraph of a page that is prose, on one line and without its links."""
    blocks = re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    prose = next((block for block in blocks if re.match(r"[\w`*\[]", block.strip())), "")
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(prose.split()))


def main(site):
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    texts = {page: text_of(page) for page in pages(project["nav"])}
    titles = {page: re.search(r"^# (.*)", text, re.MULTILINE)[1] for page, text in texts.items()}
    for page, text in texts.items():
        (site / page).write_text(text)
    lines = [f"- [{titles[page]}]({page}): {first_sentences(text)}" for page, text in texts.items()]
    head = f"# {project['site_name']}\n\n> {project['site_description']}\n"
    (site / "llms.txt").write_text(
        f"{head}\nAll of it in one file: [llms-full.txt](llms-full.txt)\n\n## Pages\n\n" + "\n".join(lines) + "\n"
    )
    (site / "llms-full.txt").write_text("\n\n".join([head, *texts.values()]))


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or [ROOT / "site"]))
