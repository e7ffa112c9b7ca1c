"""Questions of one's own, put to the models of a pair."""
