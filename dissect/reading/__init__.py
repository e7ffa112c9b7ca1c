"""Reading a model: what it says, what it gives to tokens, and what its states hold."""
