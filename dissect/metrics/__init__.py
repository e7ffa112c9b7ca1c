"""Metrics of a cell. Each is one file here; nothing else needs to change for a new one."""
