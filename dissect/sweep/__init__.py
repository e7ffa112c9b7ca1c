"""One grid, one runner and one result type for everything that can be swapped between two models."""
