"""everycore for Python: worker hosts (worker_host.py, exec_host.py); the client comes later."""
