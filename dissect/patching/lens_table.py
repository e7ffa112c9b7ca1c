"""A table of the most likely tokens after each layer at each position."""

from html import escape

import pandas as pd

from dissect.stored_result import StoredDataset


class LensTable(StoredDataset):
    """The most likely next tokens by model, layer, position and prompt.

    ``data`` is an ``xarray.Dataset``. Positions are counted from the first token of the answer, 0, so -1 is the
    prompt's last token, where that first token is predicted.

    - ``said`` and ``probability`` (model, layer, position, prompt, k): the k most likely next tokens after the layer,
      the most likely first, as the tokenizer writes them; ``""`` and NaN where a prompt has no such position
    - ``rank`` and ``logprob`` (model, layer, position, prompt): place by falling probability, from 1, and
      log-probability in nats of the token that does come next; NaN after the last one
    - ``token`` (position, prompt): what stands at the position
    """

    FORMAT = "dissect-lens-1"
    WRITER = "LensTable.save"

    def table(self, *, prompt: int = 0, position: int = -1, k: int = 1) -> pd.DataFrame:
        """The ``k`` most likely tokens after each layer (rows, the last on top), a column a model.

        Args:
            position: counted from the answer's first token; -1 is where that is predicted.
        """
        here = self.data.sel(prompt=prompt, position=position)
        columns = {
            str(model): [
                ", ".join(
                    f"{said} {probability:.2f}"
                    for said, probability in zip(row["said"].values[:k], row["probability"].values[:k], strict=True)
                )
                for row in (here.sel(model=model, layer=layer) for layer in here["layer"].values[::-1])
            ]
            for model in here["model"].values
        }
        return pd.DataFrame(columns, index=pd.Index(here["layer"].values[::-1], name="layer"))

    def __repr__(self) -> str:
        sizes, head = self.data.sizes, self.spec.get("head")
        models = ", ".join(map(str, self.data["model"].values))
        read = "each model's own head" if head == "own" else f"the {head} model's head"
        return f"LensTable({models}; {sizes['layer']} layers, {sizes['prompt']} prompts, read with {read})"

    def _repr_html_(self) -> str:
        question = " ".join(
            str(self.data["question" if "question" in self.data.coords else "prompt_text"].values[0]).split()
        )
        caption = f"<p><b>{escape(repr(self))}</b>; the token after: {escape(question)}</p>"
        return caption + str(
            self.table(prompt=self.data["prompt"].values[0].item(), k=min(3, self.data.sizes["k"])).to_html()
        )
