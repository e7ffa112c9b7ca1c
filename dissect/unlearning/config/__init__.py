"""Settings of a run: their names, ranges, presets and files."""
