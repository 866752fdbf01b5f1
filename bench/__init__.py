"""Benchmarks against installed peers, by interleaved rounds. `python -m bench --help`; run by `make bench`."""
