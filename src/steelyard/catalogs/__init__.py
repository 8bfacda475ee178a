"""A catalogue of many files: a row for each weight and each file, in one Parquet file, and the questions it answers."""
