"""The Python contenders, one function each: python pools.py CONTENDER WORKLOAD.json

Each starts its pool and maps the items twice. `first` is printed at the first result and `cold` at the last one of
the first map; `warm SECONDS` is the second map, on a pool that is up. Each maps in the way that its own documentation
shows for many small items; where there is a choice, two contenders differ in it.
"""

import json
import sys
import time

import tasks


def say(line):
    print(line, flush=True)


def twice(map_once):
    """`map_once()` gives the results as they come."""
    for turn in ("cold", "warm"):
        started_at = time.perf_counter()
        count = 0
        for _ in map_once():
            count += 1
            if count == 1 and turn == "cold":
                say("first")
        seconds = time.perf_counter() - started_at
        say("cold" if turn == "cold" else f"warm {seconds}")


def multiprocessing_map(function, items, slots):
    from multiprocessing import Pool

    with Pool(slots) as pool:
        twice(lambda: pool.map(function, items))


def multiprocessing_imap(function, items, slots):
    from multiprocessing import Pool

    with Pool(slots) as pool:
        twice(lambda: pool.imap_unordered(function, items))


def joblib(function, items, slots):
    from joblib import Parallel, delayed

    with Parallel(n_jobs=slots, return_as="generator_unordered") as parallel:
        twice(lambda: parallel(delayed(function)(item) for item in items))


def ray(function, items, slots):
    import ray as ray_module

    ray_module.init(num_cpus=slots, include_dashboard=False, logging_level="error", log_to_driver=False)
    remote = ray_module.remote(function)

    def map_once():
        waiting = [remote.remote(item) for item in items]
        while waiting:
            ended, waiting = ray_module.wait(waiting, num_returns=min(100, len(waiting)), timeout=0.1)
            yield from ray_module.get(ended)

    twice(map_once)
    ray_module.shutdown()


def dask(function, items, slots):
    from distributed import Client, as_completed

    with Client(n_workers=slots, threads_per_worker=1, dashboard_address=None) as client:
        twice(lambda: as_completed(client.map(function, items, pure=False), with_results=True))


def hyperqueue(_function, items, slots):
    """Programs only: a Python function of it is a program of its own for each item."""
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=slots))
        client = cluster.client()

        def map_once():
            job = Job()
            for item in items:
                job.program(["/bin/true", str(item)], stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])
            yield from items

        twice(map_once)


CONTENDERS = {
    "multiprocessing-map": multiprocessing_map,
    "multiprocessing-imap": multiprocessing_imap,
    "joblib": joblib,
    "ray": ray,
    "dask": dask,
    "hyperqueue": hyperqueue,
}

if __name__ == "__main__":
    name, file = sys.argv[1:]
    with open(file, encoding="utf8") as opened:
        workload = json.load(opened)
    given = workload["items"] or range(workload["count"])
    CONTENDERS[name](getattr(tasks, workload["task"], None), given, workload["slots"])
