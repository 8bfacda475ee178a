"""Files that try to run something, to hide it, or to be vouched for: none of the pickle kinds is silent, and no clean one is flagged."""

import carried
import pytest

from steelyard.auditing import audit

FOLDER = carried.SHARED / "cases" / "audit"
PICKLES = ("cmp", "gad_pkl", "gad_pt", "leg", "nest", "str", "suf", "z", "zip")
"""The folders in which every file would run something."""
CLEAN = ("y/ok.npz", "y/csr.pt", "y/nested.pt", "x/objects.npz")
"""Files that run nothing."""
FURTHER = (
    *("ke/npz_pickle.keras", "hf/optimizer.bin", "np/obj.npy", "np/obj.npz", "np/joblib_prefix.joblib", "np/raw_pickle_in.npz"),
    *("np/traversal.npz", "sk/pickle_renamed.skops", "x/client_connect.pkl", "x/gzipfile_truncate.pkl", "x/tempdir.pkl"),
)


@pytest.mark.shared
@pytest.mark.parametrize("folder", PICKLES)
def test_no_file_with_a_pickle_that_runs_something_is_silent(folder):
    files = [path for path in sorted((FOLDER / folder).iterdir()) if f"{folder}/{path.name}" not in CLEAN]
    assert files
    assert not [path.name for path in files if not audit(path).would_run]


@pytest.mark.shared
@pytest.mark.parametrize("name", FURTHER)
def test_pickles_in_files_of_other_formats_are_named(name):
    assert audit(FOLDER / name).would_run


@pytest.mark.shared
@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_file_has_no_findings(name):
    assert not audit(FOLDER / name).findings


PROGRAMS = (".so", "/scripts/magika")


def flagged(folder):
    """Return the findings of all files of a folder, but for those of info, compiled programs, and classes of a user's own."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not str(path).endswith(PROGRAMS)]
    assert files
    return [
        (path, found)
        for path in files
        for found in audit(path).findings
        if found.severity != "info" and found.rule != "keras-unknown-class"
    ]


def test_no_real_file_of_a_package_would_run_anything():
    assert not flagged(carried.PACKAGES)


@pytest.mark.shared
def test_no_real_file_from_elsewhere_would_run_anything():
    assert not flagged(carried.OUTSIDE)
