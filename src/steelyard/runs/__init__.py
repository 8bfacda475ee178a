"""Weights along a training run: the folder of a run, what records into it, and what reads it.

    run.json            the names and facts of the weights, and the layout of the records
    stats.f64           for each record and weight the columns of `layout.COLUMNS`
    histograms.bin      for each `histogram`th record and weight: range, quantiles and 128 counts
    sketches.bin        the sketch of the first record, then its changes from record to record
    w/00000200.safetensors   a snapshot of all weights, for those records that were asked to have one
    journal.jsonl       a line for each record; its line is written last, so what has no line does not exist

`layout` describes the files, `store` reads them, `appending` writes them. `recording` copies the weights of a model in the caller
and leaves the rest to a thread: `measuring` computes the records.

`history` looks back. Its source is a recorded run or, in `checkpoints`, a pile of checkpoints, whose `steps` are in their
names and whose records are computed when they are asked for. `curves`, `events`, `places`, `units` and `comparing` answer.
"""
