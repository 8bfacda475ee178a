"""Operators of TensorFlow that run Python, reach files or the network, or are not TensorFlow's own."""

from __future__ import annotations

import re

PYTHON = frozenset(("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction", "PyFunction"))
"""Operators that call a function of Python, by its number in the registry of the process."""

_OUTSIDE = re.compile(
    r"""
    ReadFile | WriteFile | MatchingFiles | DeleteFile | RenameFile | CopyFile | ShellExecute | LoadLibrary\w* | ImmutableConst
    | WholeFileReader(?:V2)? | TextLineReader(?:V2)? | TFRecordReader(?:V2)? | FixedLengthRecordReader(?:V2)? | LMDBReader
    | (?:Experimental)?(?:TextLine|TFRecord|FixedLengthRecord|CSV|Sql|LMDB|MatchingFiles|SSTable|RecordIO)Dataset(?:V\d)?
    | (?:Experimental)?(?:Snapshot|Save|Load|DistributedSave|DataService)\w*Dataset(?:V\d)? | SnapshotChunkDataset
    | DistributedSave | RegisterDataset(?:V2)? | CreateSummaryFileWriter | CreateSummaryDbWriter
    | DebugIdentity(?:V\d)? | DebugNanCount | DebugNumericSummary(?:V\d)? | RPC\w* | Rpc\w* | TryRpc | BigQuery\w*
    | GenerateBigQueryReaderPartitions | CloudBigtable\w* | Bigtable\w* | FileSystemSetConfiguration | IO> .* | Azure\w* | S3\w*
    | SendTPU\w* | _?(?:Host)?(?:Send|Recv)V2_remote | SaveSlices | RestoreSlice
    """,
    re.VERBOSE,
)
_CHECKPOINT = frozenset(("SaveV2", "RestoreV2", "Save", "Restore", "MergeV2Checkpoints"))
"""Operators that write and read checkpoints: expected in the functions that save and restore a model."""


def rule_of_op(op: str, owner: str = "save") -> str:
    """Return the rule that an operator of a graph breaks, or ""; `owner` is the name of its node or function.

    >>> rule_of_op("MatMul"), rule_of_op("WriteFile"), rule_of_op("SaveV2", "my_function"), rule_of_op("Addons>X")
    ('', 'tf-outside', 'tf-outside', 'tf-custom-op')
    """
    if op in PYTHON:
        return "tf-python"
    if _OUTSIDE.fullmatch(op) or (op in _CHECKPOINT and not re.search(r"save|restore", owner)):
        return "tf-outside"
    return "tf-custom-op" if ">" in op else ""
