"""Making figures: from a config or the embedded world to files; what was computed is kept."""
