"""What the pages and notebooks that one can question are made from."""
