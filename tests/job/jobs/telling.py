"""Notes that it was started, tells of itself, and ends as it is asked to.

python telling.py SIDE_DIR finishes|fails|waits
"""

import json
import os
import sys
import time
from pathlib import Path

side = Path(sys.argv[1])
with (side / "runs").open("a") as file:
    file.write(f"{os.getpid()}\n")
own = ("FINETUNER_RUN_DIR", "FINETUNER_COOKIE", "FINETUNER_STANDBY_FD", "GIVEN")
told = {"pid": os.getpid(), "cwd": str(Path.cwd()), "env": {name: os.environ.get(name) for name in own}}
print(json.dumps(told), flush=True)
os.write(int(os.environ["FINETUNER_EVENTS_FD"]), b'{"kind": "progress", "step": 1}\n')
while sys.argv[2] == "waits":
    time.sleep(0.01)
sys.exit(3 if sys.argv[2] == "fails" else 0)
