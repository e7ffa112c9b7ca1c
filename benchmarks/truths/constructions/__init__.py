"""How models are made: one file for each kind of construction, each with the recipes of its models."""
