"""Misspelt and renamed keywords of public functions."""

import inspect
from dataclasses import dataclass, replace

import pytest

import dissect
from dissect.keywords import keywords


@keywords(renamed={"size": "window"})
def swept(pair: str, *, window: int = 5, layers: list[int] | None = None) -> tuple[str, int]:
    """Sweep."""
    return pair, window


@keywords(renamed={"size": "window"})
def trained(*, forget: int = 0, retain: int, **settings: int) -> dict[str, int]:
    return {"forget": forget, "retain": retain, **settings}


@keywords()
@dataclass(frozen=True, kw_only=True)
class Settings:
    window: int = 5


def test_a_right_call_passes() -> None:
    assert swept("a", window=3) == ("a", 3)
    assert swept(pair="a") == ("a", 5)
    assert trained(retain=2, anything=1) == {"forget": 0, "retain": 2, "anything": 1}
    assert replace(Settings(window=3), window=7).window == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: swept("a", windw=3), "swept has no argument 'windw': did you mean 'window'?"),
        (lambda: swept("a", size=3), "swept has no argument 'size': it is now called 'window'"),
        (lambda: swept("a", xyz=3), "swept has no argument 'xyz': it takes pair, window, layers"),
        (lambda: trained(size=3), "trained has no argument 'size': it is now called 'window'"),
        (lambda: trained(retian=3), "trained has no argument 'retian': did you mean 'retain'?"),
        (lambda: Settings(windw=3), "Settings has no argument 'windw': did you mean 'window'?"),
    ],
)
def test_a_wrong_keyword_names_the_right_one(call, message) -> None:
    with pytest.raises(dissect.DissectError) as caught:
        call()
    assert str(caught.value) == message


def test_what_is_wrong_with_other_arguments_stays_a_type_error() -> None:
    with pytest.raises(TypeError, match="pair"):
        swept(window=3)


def test_signature_and_docstring_stay() -> None:
    assert str(inspect.signature(swept)) == (
        "(pair: str, *, window: int = 5, layers: list[int] | None = None) -> tuple[str, int]"
    )
    assert swept.__doc__ == "Sweep."
    assert list(inspect.signature(Settings).parameters) == ["window"]


@pytest.mark.parametrize(
    "name", [name for name in dissect.__all__ if inspect.isroutine(getattr(dissect, name)) and name != "concat"]
)
def test_every_public_function_answers_a_misspelt_keyword(name) -> None:
    function = getattr(dissect, name)
    parameters = inspect.signature(function).parameters.values()
    misspelt = f"{next(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)}x"
    with pytest.raises(dissect.DissectError, match=rf"^{name} has no argument '{misspelt}': did you mean"):
        function(**{misspelt: 1})


def test_what_the_retrained_model_was_called_names_its_new_name(tiny_pair):
    directories = tiny_pair("llama")
    with pytest.raises(dissect.DissectError, match="load_pair has no argument 'retain': it is now called 'retrained'"):
        dissect.load_pair(*directories, retain=directories[0])
    pair = dissect.load_pair(*directories, progress=False)
    prompts = dissect.Facts([dissect.Fact(question="Who?", answer="In")]).prompts(pair.base)
    with pytest.raises(dissect.DissectError, match=r"now called pair\.retrained"):
        pair.retain  # noqa: B018
    for sweep in (dissect.patch, dissect.restore):
        for old in ({"donor": "retain"}, {"controls": ["retain"]}):
            with pytest.raises(dissect.DissectError, match=r"'retain'.*: it is now called 'retrained'"):
                sweep(pair, prompts, progress=False, **old)
    with pytest.raises(dissect.DissectError, match="attribute has no argument 'metric': it is now called 'metrics'"):
        dissect.attribute(pair, prompts, metric="krs")
    with pytest.raises(dissect.DissectError, match="a gradient is that of one metric, got krs, kl"):
        dissect.attribute(pair, prompts, metrics=["krs", "kl"])
