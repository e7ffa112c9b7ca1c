"""Published benchmarks, one a file; `suite.py` says what a suite is."""
