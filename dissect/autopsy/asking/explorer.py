"""`dissect.explore(pair)`: a field for questions in a notebook."""

from importlib.util import find_spec
from typing import Any

from dissect.autopsy.asking.answered import Asked
from dissect.autopsy.asking.own_question import ask
from dissect.autopsy.picker.embed import plain
from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.pair import ModelPair
from dissect.patching.sites import available

NOTHING = "nothing"
_BLOCKS = ("mlp.W_out", "mlp", "attn", "block")


class Explorer:
    """Asks what is typed, and shows what each model says; with ipywidgets as a form, else by calling it."""

    def __init__(self, pair: ModelPair, **settings: Any) -> None:
        self.pair, self.settings = pair, settings

    def __call__(self, question: str, **change: Any) -> Asked:
        """Ask; ``restore``, ``patch`` and ``layers`` as in ``dissect.ask``."""
        return ask(self.pair, question, **(self.settings | change))

    def __repr__(self) -> str:
        return 'Explorer: call it with a question, e.g. explorer("Who is ...?", restore=["mlp"], layers=range(4, 8))'

    def form(self) -> Any:
        """The form: question, what of the base model to put in, in which layers.

        Raises:
            DissectError: ipywidgets is not installed.
        """
        if find_spec("ipywidgets") is None:
            raise DissectError(
                "the form needs ipywidgets: pip install ipywidgets, or call the explorer with a question"
            )
        import ipywidgets

        n_layers = self.pair.base.cfg.n_layers
        question = ipywidgets.Text(
            placeholder="type a question, then Enter", description="Ask", continuous_update=False
        )
        options = [NOTHING, *(f"restore {block}" for block in _BLOCKS)]
        options += [f"patch {site}" for site in available(self.pair.unlearned)]
        change = ipywidgets.Dropdown(options=options, description="From base")
        layers = ipywidgets.IntRangeSlider(value=(0, n_layers - 1), min=0, max=n_layers - 1, description="Layers")
        answer = ipywidgets.HTML()

        def refresh(_: object) -> None:
            if not question.value.strip():
                return
            answer.value = "…"
            try:
                answer.value = self(question.value, **chosen(change.value, *layers.value))._repr_html_()
            except DissectError as error:
                answer.value = f"<p>{plain(str(error))}</p>"

        for widget in (question, change, layers):
            widget.observe(refresh, names="value")
        return ipywidgets.VBox([question, change, layers, answer])

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        if find_spec("ipywidgets") is None:
            display(HTML(f"<p>{plain(repr(self))}. With ipywidgets installed a form stands here.</p>"))
        else:
            display(self.form())


def chosen(change: str, first: int, last: int) -> dict[str, Any]:
    """What of the base model is put in, as ``dissect.ask`` takes it."""
    kind, _, name = change.partition(" ")
    return {} if change == NOTHING else {kind: [name], "layers": range(first, last + 1)}


@keywords()
def explore(pair: Any, **settings: Any) -> Explorer:
    """Ask questions of your own in a notebook: what base, unlearned and retrained say, and what a change makes of it.

    Args:
        pair: from ``dissect.load_pair``.
        settings: ``template``, ``chat``, ``max_new_tokens`` of ``dissect.ask``.

    Raises:
        DissectError: no pair.

    Example:
        >>> pair = dissect.load_pair("runs/demo/base", "runs/demo/npo")
        >>> explorer = dissect.explore(pair)
        >>> print(explorer("Where was Kira Estow born?"))
        Where was Kira Estow born?
        base ...
    """
    if not isinstance(pair, ModelPair):
        raise DissectError(f"expected a pair from dissect.load_pair, got {type(pair).__name__}")
    return Explorer(pair, **settings)
