"""Questions with given answers, of which one is chosen."""
