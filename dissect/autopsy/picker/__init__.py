"""Picking single facts and checkpoints out of stored results: in the report, on the leaderboard, in a notebook."""
