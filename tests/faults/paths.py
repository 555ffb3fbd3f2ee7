# SPDX-License-Identifier: Apache-2.0
"""Where the modules are that these tests share with tests/e2e and tests/bench."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.join(HERE, "..", d) for d in ("faults", "e2e", "bench")]
