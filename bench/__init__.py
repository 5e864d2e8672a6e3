"""The benchmark: what the gateway adds to a request, beside what others add in the same run. `python -m bench --help`."""
