"""The verdict: a panel of attacks run, the rule applied, its words and its file."""
