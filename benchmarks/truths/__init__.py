"""A population of models of known truth, made by plain torch from small worlds: what a verdict has to get right."""
