"""Look for pickles whose calls the audit does not name: random streams, compared with Python's own unpicklers.

.venv/bin/python fuzz/audit.py 1000000 [SEED]
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from random_pickles import missed, stream

if __name__ == "__main__":
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    chance, names = random.Random(seed), 0
    for number in range(count):
        data = stream(chance)
        if lost := missed(data):
            sys.exit(f"stream {number:,} of seed {seed}: {data!r} names {lost}")
        if number % 100_000 == 99_999:
            print(f"{number + 1:,} streams", flush=True)
