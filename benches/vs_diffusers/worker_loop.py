"""How a worker talks to compare.py: a line of JSON for each piece of work that is asked for, and one with what it cost."""

import json
import resource
import sys
import time


def serve(versions, work_of):
    """Answers until the input ends. `work_of(ask)` prepares a piece of work; calling what it returns is what is timed."""
    print(json.dumps({"ready": True, "versions": versions}), flush=True)
    for line in sys.stdin:
        work = work_of(json.loads(line))
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        answer["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)
