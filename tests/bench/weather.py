# SPDX-License-Identifier: Apache-2.0
"""What the machine is good for at this moment; without it, milliseconds of two machines (or two hours) cannot be compared."""
import mmap
import os
import subprocess
import time

PAGE = 4096
BUSY = 0.5      # share of all CPUs; an idle lab of two clusters takes a fifth of two cores


def busy_share(seconds=1.0):
    """Share of CPU time that was not idle."""
    def sample():
        with open("/proc/stat", encoding="ascii") as f:
            fields = list(map(int, f.readline().split()[1:]))
        return sum(fields), fields[3] + fields[4]
    before = sample()
    time.sleep(seconds)
    after = sample()
    return 1 - (after[1] - before[1]) / max(1, after[0] - before[0])


def settle(timeout=60):
    """Wait until clusters that have just come up are calm; the share that is busy then."""
    end = time.monotonic() + timeout
    while True:
        busy = busy_share()
        if busy < BUSY or time.monotonic() > end:
            return round(busy, 2)


def page_fault_us(mib=16):
    """Median of 5: the first write to a page of fresh memory. A bare machine takes 0.1 to 0.5 us, virtual memory in software 10 and more."""
    found = []
    for _ in range(5):
        with mmap.mmap(-1, mib << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
            begin = time.perf_counter()
            for at in range(0, mib << 20, PAGE):
                m[at] = 1
            found.append(time.perf_counter() - begin)
    return round(sorted(found)[2] * 1e6 / ((mib << 20) / PAGE), 2)


def process_start_ms(n=20):
    """Median of n: start and end of a program that does nothing."""
    found = []
    for _ in range(n):
        begin = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        found.append(time.perf_counter() - begin)
    return round(sorted(found)[n // 2] * 1000, 2)


def look():
    return {"busy_before": settle(), "page_fault_us": page_fault_us(), "process_start_ms": process_start_ms(), "cpus": os.cpu_count()}
