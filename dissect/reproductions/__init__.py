"""The papers' figures, one file a figure family, and the models of the embedded world that they are shown on."""
