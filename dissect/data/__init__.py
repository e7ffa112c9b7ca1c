"""Questions for the models: facts and their readers, prompts with their answers marked, a small world.

`facts` and `readers` bring facts in, `prompts` turns them into right-padded tokens with the answer tokens marked,
`world` makes fictitious people for models that are trained on the spot.
"""
