"""The checkpoint's own chat template: its settings as data, facts as turns of it, and what can go wrong with it."""
