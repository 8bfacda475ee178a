"""Modules are joined into one script in the order in which they import each other; what cannot be joined is an error."""

import pytest

from steelyard.inspector.joined import joined


def test_a_module_that_several_import_is_there_once_and_before_them():
    modules = {
        "page.js": 'import { one } from "./parts/one.js";\nimport { two as other } from "./parts/two.js";\none(other);\n',
        "parts/one.js": 'import {\n  base,\n} from "../base.js";\nexport function one() {}\n',
        "parts/two.js": 'import "../base.js";\nexport async function two() {}\nexport const three = 3;\n',
        "base.js": "export const base = 1;\n",
        "unused.js": "export const unused = 1;\n",
    }
    script = joined(modules, "page.js")
    assert [script.count(word) for word in ("const base = 1;", "unused", "import", "export")] == [1, 0, 0, 0]
    assert script.index("const base = 1;") < script.index("function one()") < script.index("one(other);")
    assert "const { two: other } = $2;" in script
    assert "return { two, three };" in script


@pytest.mark.parametrize(
    "line", ["export default 1;", 'export { a } from "./b.js";', 'import * as a from "./b.js";', "export let a = 1;"]
)
def test_a_statement_of_another_form_is_an_error_that_shows_it(line):
    with pytest.raises(ValueError, match=r"a\.js has a statement that cannot be joined: (import|export)"):
        joined({"a.js": f"{line}\n", "b.js": ""}, "a.js")


def test_modules_that_import_each_other_are_an_error_that_names_them():
    modules = {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'}
    with pytest.raises(ValueError, match=r"a\.js imports b\.js imports a\.js"):
        joined(modules, "a.js")
