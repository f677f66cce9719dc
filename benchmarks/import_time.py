"""What `import pellucid` adds to `import torch`: medians over fresh processes, run by turns.

.venv/bin/python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

RUNS = 9
STATEMENTS = {"import torch": [], "import pellucid": []}


def main() -> None:
    """Prints both medians and their difference."""
    for _ in range(RUNS):
        for statement, seconds in STATEMENTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            seconds.append(time.perf_counter() - start)
    medians = {statement: statistics.median(seconds) for statement, seconds in STATEMENTS.items()}
    for statement, median in medians.items():
        print(f"{statement}: {median:.3f} s")
    print(f"added: {medians['import pellucid'] - medians['import torch']:.3f} s")


if __name__ == "__main__":
    main()
