"""Tells of itself, then goes on once there is a file `go` in its run directory, which it removes.

python going.py
"""

import os
import time
from pathlib import Path

run_dir = Path(os.environ["FINETUNER_RUN_DIR"])
told = {name: os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "A_SECRET", "CUDA_VISIBLE_DEVICES")}
print(os.getpid(), told, flush=True)
while not (run_dir / "go").exists():
    time.sleep(0.01)
print("went", flush=True)
