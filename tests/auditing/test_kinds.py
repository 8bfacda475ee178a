"""The audit of files that were made elsewhere to run something: none of the kinds that are not pickles is silent."""

import carried
import pytest

from steelyard.auditing import audit

CASES = carried.SHARED / "cases" / "audit"


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["ke", "gg", "ox", "hf", "sk", "st"])
def test_no_file_is_silent(kind):
    for path in sorted((CASES / kind).iterdir()):
        found = {finding.severity for finding in audit(path).findings}
        assert found & {"warning", "error"} or path.name == "model.safetensors", path.name
