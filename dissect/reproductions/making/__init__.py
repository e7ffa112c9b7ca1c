"""How figures are made: from a config or the embedded world to files, with what was computed kept."""
