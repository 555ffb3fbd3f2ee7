# SPDX-License-Identifier: Apache-2.0
"""What was going on in a batch in which a row failed: build/check/faults/ROW.txt."""
import os

import run as e2e
from cluster import ROOT

OUT = os.path.join(ROOT, "build/check")


def write(batch, results, clusters):
    text = "\n".join("%s: %s" % (r["row"], r["problem"]) for r in results if r["problem"])
    name = "-".join(batch[0].row.batch)
    folder = os.path.join(OUT, "faults")
    os.makedirs(folder, exist_ok=True)

    class Where:
        pass
    Where.name = name
    e2e.evidence(Where, clusters, text)
    os.replace(os.path.join(OUT, "e2e", name + ".txt"), os.path.join(folder, name + ".txt"))
