"""What a job needs, computed from a configuration alone."""
