"""All sizes and thresholds that were chosen by measurement: how much is read, copied or summed at a time.

They affect results by rounding at most; each balances memory, cache and the cost of starting a thread. They are
read as `sizes.NAME` when they are used, so that tests can set all of them to a few elements and run the code that
otherwise runs only above a million. Sizes are in elements unless the name ends in `_BYTES`.
"""

from __future__ import annotations

THREADS = 2  # two threads process numbers about as fast as memory delivers them; more would only wait
WINDOW = 6  # jobs that run or wait for their turn; their results are held in memory until then

# reading and writing
READ_BLOCK = 1 << 20  # block of `Weight.blocks`: large enough to hide the cost of a call, small enough to bound memory
READ_GAP = 1 << 16  # two runs of a part this close are read as one: the gap costs less than a second call
READ_GAP_BYTES = 1 << 13  # the same in a local file, where a call takes as long as reading some 10 KiB that are in memory
WRITE_CHUNK_BYTES = 1 << 20  # written at a time
COPY_BYTES = 1 << 26  # of a file that the system copies at a time; between them it is seen whether the file has changed
READ_AHEAD_BYTES = 1 << 20  # a weight at least this large is read by a thread while the last chunk is written
OPEN_FILES = 100  # held open at a time: a system allows a process 256 or more, and opening one again takes some 10 us

# files at a URL, where a request takes as long as some hundred KiB
REMOTE_FIRST_BYTES = 1 << 17  # fetched in one request from the start of a remote file: most headers fit
REMOTE_HEAD_BYTES = 1 << 16  # fetched at least, where a read does not go on where another ended
REMOTE_TAIL_BYTES = 1 << 17  # fetched from its end: the end record of an archive, and the directory before it
REMOTE_WINDOW_BYTES = 1 << 23  # fetched at a time where reads follow one another, and as much in advance
REMOTE_BULK_BYTES = 1 << 22  # a read at least this large is fetched in quarters of this size, and not kept
REMOTE_PIECE_BYTES = 1 << 18  # a window is fetched in pieces of at least this size,
REMOTE_PIECES = 4  # and at most so many
REMOTE_IN_FLIGHT = 8  # requests of one file on their way at a time
REMOTE_STREAMS = 8  # places where reads go on, as of several threads
REMOTE_KEPT_BYTES = 1 << 25  # of a file that are kept
REMOTE_MANY = 12  # requests, one after another, from which a listing says how many there will be
REMOTE_WHOLE_BYTES = 1 << 26  # a file at most this large is fetched whole, with a warning, where a server ignores ranges

# copying
COPY_THRESHOLD = 1 << 24  # a vector at least this long is copied by two threads: one core cannot use all the bandwidth
TURN_THRESHOLD = 1 << 23  # an array at least this large is transposed by two threads
BAND_BYTES = 1 << 26  # rows of a column-major array in a file that are read and turned at once, and kept until the next
TILE = 512  # rows and columns that are transposed at a time: two such squares of float32 fit into the cache

# merging
MERGE_TILE = 1 << 16  # numbers of whole rows that an adapter changes at a time: several float64 copies stay in the cache
MERGE_ROW = 1 << 20  # a row longer than this is changed in tiles of its columns

# editing
EDIT_BLOCK = 1 << 17  # computed of several weights at a time: their blocks stay in the cache together
CUT_SAMPLE = 1 << 18  # magnitudes that bracket a cut; a weight up to this size is its own sample
CUT_HELD = 1 << 21  # magnitudes near all cuts of a weight that are held with their positions, 12 bytes each

# summaries
SUMMARY_BLOCK = 1 << 17  # summed up at a time, so that intermediate results stay in the cache; sums are rounded once a block
FAST_LEAST = 1 << 12  # fewer numbers are left to NumPy where the extra `fast` is installed; more than SMALL_WEIGHT has
SUMMARY_RUN = 1 << 22  # one job of a thread
SUMMARY_THRESHOLD = 1 << 16  # a run shorter than this is finished before another thread could begin
SMALL_WEIGHT = 1 << 10  # weights up to this size are summed up together, as the rows of a matrix: a call for each would be slow
SMALL_TOGETHER = 2048  # small weights that are digested from one read of a file, at most
SMALL_RUN = 32  # fewer small weights in a row are summed up one by one
SORT_THRESHOLD = 1 << 14  # fewer numbers are counted faster by sorting than by a pass over all bins
CHANNEL_BLOCK = 1 << 17  # summed up by channel at a time: several temporaries of this size stay in the cache

# matrices and pictures
MATRIX_BLOCK = 1 << 20  # rows of a matrix are read in blocks of about this size
WHOLE_MATRIX = 1 << 22  # a matrix up to this size is decomposed in memory: 32 MiB of float64
PICTURE_BLOCK = 1 << 20  # drawn at a time
WIDE_ROWS = 32  # columns: rows of fewer are reduced to the cells of a picture faster one by one than as a block
NARROW_COLUMNS = 1 << 12  # rows up to this length are read whole, even where only some columns are drawn
SKIPPED_BYTES = 1 << 12  # in a file, more than these are skipped between two rows: fewer cost less than another read

# differences
DIFF_BLOCK = 1 << 17  # compared at a time: both sides and their differences stay in the cache
DIFF_RUN_BYTES = 1 << 24  # one job of a thread
DIFF_THRESHOLD_BYTES = 1 << 20  # a smaller weight is compared before another thread could begin
FLOAT32_RUN = 1024  # float32 numbers that are summed in float32 before float64 takes over: an error of about 1e-7
PAIR_HEAD = 1 << 14  # compared first, before two weights of one shape are compared in full

# digests; multiples of 16 bytes, so that no chunk ends within a number
DIGEST_CHUNK_BYTES = 1 << 18  # read at a time: it stays in the cache until it is digested
DIGEST_THRESHOLD_BYTES = 1 << 20  # a smaller weight is digested before another thread could begin
