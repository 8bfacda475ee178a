"""A check of a file that cannot be read as weights."""

from steelyard import auditing
from steelyard.measures.check import check


def test_a_refused_file_is_audited_once(tmp_path, monkeypatch):
    path, audits = tmp_path / "model.pkl", []
    path.write_bytes(b"\x80\x02cos\nsystem\nU\x02lsR")
    real = auditing.parts
    monkeypatch.setattr(auditing, "parts", lambda source: audits.append(source) or real(source))
    assert [finding.kind for finding in check(path).findings] == ["code", "damaged", "damaged"]
    assert len(audits) == 1
