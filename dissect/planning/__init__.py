"""Memory and processes that a job needs, computed from a configuration alone."""
