"""`keymask` whose batches on Ray need no network, in a process of its own: Ray may end the processes that use it."""

from __future__ import annotations

import sys
from functools import partial

from service.cli.main import main
from service.run.batch import ray_workers
from tests.support.batch_tasks import run_twice

if __name__ == "__main__":
    ray_workers.run_tasks_on_ray = partial(ray_workers.run_tasks_on_ray, run=run_twice)
    sys.exit(main(sys.argv[1:]))
