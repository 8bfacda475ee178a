"""The files of the table in docs/security.md, by their kind, and what the audit says of each."""

import carried

FOLDER = carried.SHARED / "cases" / "audit"
CLEAN = frozenset(
    ("y/ok.npz", "y/csr.pt", "y/nested.pt", "y/cutmember.npz", "x/objects.npz", "x/lacks_storage.pt", "hf/model.safetensors")
)
"""Files that run nothing."""
KINDS = {
    "public gadgets": ("gad_pkl", "gad_pt"),
    "reached through names that a list allows": ("z",),
    "streams, nesting, compression, suffixes": ("str", "nest", "cmp", "suf", "x"),
    "zip and tar archives": ("zip", "leg"),
    "NumPy and joblib": ("np",),
    "Keras": ("ke",),
    "GGUF templates": ("gg",),
    "ONNX": ("ox",),
    "a folder of the Hub": ("hf",),
    "skops": ("sk",),
    "bytes after safetensors": ("st",),
}
FOUND, SILENT, GAVE_UP = "yes", "no", "error"


def cases():
    """Return the files that run something, or hide it, by kind."""
    found = {kind: [] for kind in KINDS}
    for kind, folders in KINDS.items():
        for path in (path for folder in folders for path in sorted((FOLDER / folder).iterdir())):
            if f"{path.parent.name}/{path.name}" not in CLEAN:
                found["reached through names that a list allows" if path.name.startswith("A_") else kind].append(path)
    return found


def benign():
    """Return the real files of `scripts/corpus` that are one file each, up to 40 MB."""
    paths = {carried.path_of(entry) for entry in carried.real()["entries"]}
    return sorted(path for path in paths if path.is_file() and path.stat().st_size <= 40e6)


def said(path):
    """Return whether the audit has a finding that fails a check: a warning or an error."""
    from steelyard.auditing import audit

    return FOUND if any(finding.severity != "info" for finding in audit(path).findings) else SILENT
