"""The ES modules of a page as one script, for a file that must do without others.

Each module becomes a function that has its names for itself and returns what it exports:

    import { pack } from "./pack.js";       const $3 = (() => {
    export function open() { ... }          const { pack } = $1;
                                            function open() { ... }
                                            return { open };
                                            })();

A browser would fetch and compile each of some sixty modules on its own, even from a `data:` URL, which takes half of the time
until a page can be used.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"(\.[\w./-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|const) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)\n", re.MULTILINE)
"""Comments on lines of their own: types and reasons, which a third of the text is."""
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def joined(modules: Mapping[str, str], entry: str) -> str:
    r"""Return a script that does what the module `entry` does, of `modules` by their paths.

    Raises `ValueError` for an import or export that is written in another way, and for modules that import each other.

    >>> print(joined({"a.js": 'import { b } from "./in/b.js";\nb();\n', "in/b.js": "export const b = () => 1;\n"}, "a.js"))
    "use strict";
    const $0 = (() => {
    const b = () => 1;
    return { b };
    })();
    const $1 = (() => {
    const { b } = $0;
    b();
    return {  };
    })();
    """
    script = _Script(modules)
    script.add(entry, ())
    return "\n".join(['"use strict";', *script.parts])


class _Script:
    """The parts of a script in the order in which modules are run, and the name of each module in it."""

    __slots__ = ("modules", "names", "parts")

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = modules
        self.names: dict[str, str] = {}
        self.parts: list[str] = []

    def add(self, path: str, above: tuple[str, ...]) -> str:
        """Add a module after those that it imports, unless it is there, and return its name; `above` are those that import it."""
        if path in self.names:
            return self.names[path]
        if path in above:
            raise ValueError(f"{' imports '.join((*above, path))}")

        def given(found: re.Match[str]) -> str:
            source = self.add(posixpath.normpath(posixpath.join(posixpath.dirname(path), found[2])), (*above, path))
            return f"const {{{found[1].replace(' as ', ': ')}}} = {source};\n" if found[1] else ""

        text = _COMMENT.sub("", self.modules[path])
        exported = _EXPORT.findall(text)
        body = _EXPORT.sub("", _IMPORT.sub(given, text))
        if left := _LEFT.search(body):
            raise ValueError(f"{path} has a statement that cannot be joined: {left[0]}")
        name = self.names[path] = f"${len(self.names)}"
        self.parts.append(f"const {name} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();")
        return name
