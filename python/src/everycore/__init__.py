"""everycore for Python: the worker host (worker_host.py); the client comes later."""
