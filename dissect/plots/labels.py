"""The words on figures: components in the letters of the papers, metrics, and what is swapped into what."""

import re
import textwrap
from collections.abc import Mapping
from html import escape
from pathlib import PurePath
from typing import Any

_PHRASES = {
    "mlp_post": ("m", "coefficients m"),
    "attn_out": ("A", "attention A"),
    "mlp_out": ("MLP", "MLP output"),
    "resid_pre": ("residual", "residual stream before the layer"),
    "resid_mid": ("residual", "residual stream after attention"),
    "resid_post": ("residual", "residual stream after the layer"),
    "mlp.W_out": ("W_V", "value vectors W_V"),
    "mlp.W_in": ("W_K", "keys W_K"),
    "mlp.W_gate": ("W_gate", "gate"),
    "mlp": ("MLP", "whole MLP"),
    "attn": ("attention", "whole attention"),
    "ln": ("norms", "layer norms"),
    "block": ("block", "whole block"),
    "embed": ("embedding", "embedding"),
    "unembed": ("unembedding", "unembedding"),
    "pos_embed": ("positions", "position embedding"),
    "ln_final": ("final norm", "final norm"),
    "mlp.other": ("rest of the MLP", "rest of the MLP"),
    "attn.other": ("rest of attention", "rest of attention"),
}
"""Component to its letter in the papers and to a phrase."""
_ACTIVATIONS = frozenset(
    ("mlp_post", "attn_out", "mlp_out", "resid_pre", "resid_mid", "resid_post", "z", "q", "k", "v", "pattern")
)
_BLOCKS = ("mlp", "attn", "ln", "block")
"""First words, before any dot, of the names of parameter blocks within layers."""

_ALL_BUT = "all but "
_METRICS = {"krs": "KRS", "kl": "KL to the donor", "logprob": "answer log-probability"}
_SCOPES = {
    "from_last": "each layer with all after it",
    "from_first": "each layer with all before it",
    "all_but": "everything but the component in the window",
}
_AXES = {
    "component": "component",
    "block": "parameter block",
    "layer": "layer",
    "prompt": "prompt",
    "position": "token position",
    "head": "head",
    "neurons": "neurons",
    "low_rank": "rank of the change put in",
    "t": "t (0: recipient, 1: donor)",
}


def component(name: str) -> str:
    """``coefficients m (mlp_post)``, ``m + A`` for components swapped together; unknown names stay as they are.

    Of a control, and of everything but a component, what it belongs to is named the same way. Safe in plotly text,
    which reads some HTML.
    """
    of, control = split_control(name)
    if control:
        return f"{component(of)} ({escape(_control(of, control), quote=False)})"
    if name.startswith(_ALL_BUT):
        return f"{_ALL_BUT}{component(name.removeprefix(_ALL_BUT))}"
    parts = name.split("+")
    if len(parts) > 1 and all(part in _PHRASES for part in parts):
        return " + ".join(_PHRASES[part][0] for part in parts)
    return escape(f"{_PHRASES[name][1]} ({name})" if name in _PHRASES else name, quote=False)


def plain(name: str) -> str:
    """A block in plain words alone: ``final norm``; unknown names stay as they are."""
    return escape(_PHRASES[name][1] if name in _PHRASES else name, quote=False)


def _control(of: str, kind: str) -> str:
    """``random`` is noise in place of activations, and other layers in place of parameters: say which."""
    if kind != "random":
        return kind
    parts = of.removeprefix(_ALL_BUT).split("+")
    if all(part in _ACTIVATIONS for part in parts):
        return "random noise"
    return "random layers" if any(part.split(".")[0] in _BLOCKS for part in parts) else kind


def split_control(name: str) -> tuple[str, str]:
    """A component and which control of it this is; an empty text for the component itself."""
    match = re.fullmatch(r"(.+) \(([^()]+)\)", name)
    return (match[1], match[2]) if match else (name, "")


def recovery(metric: str, about: Mapping[str, str], *, pooled: bool = False) -> str:
    """The recovery axis of a metric: ``recovery (KRS)``."""
    name = _METRICS.get(metric, about.get("label", metric))
    return escape(f"{'pooled recovery' if pooled else 'recovery'} ({name})", quote=False)


def axis(dim: str, window: Any = 1) -> str:
    """Title of the axis of a dimension; layers are the centres of their windows where these are wider than one."""
    if dim == "layer" and window not in (1, None):
        return "centre layer of the window"
    return _AXES.get(dim, escape(dim, quote=False))


def swap(spec: Mapping[str, Any]) -> str:
    """Return a phrase such as ``Activations of the base model put into the unlearned model``."""
    kinds = _listed(spec.get("kind", "components"))
    words = dict.fromkeys("activations" if kind == "attribution" else str(kind) for kind in kinds)
    text = f"{' and '.join(words)} of the {spec.get('donor')} model put into the {spec.get('recipient')} model"
    if all(kind == "attribution" for kind in kinds):
        return f"First-order estimate: {text}"
    return text[0].upper() + text[1:] + (", in part estimated to first order" if "attribution" in kinds else "")


def setting(spec: Mapping[str, Any], n_prompts: int) -> str:
    """One line: the checkpoints (their last names, and how they were rounded), the window and how many prompts."""
    names = [
        " in ".join(
            [PurePath(str(spec[f"{spec.get(role)}_path"])).name, *_listed(spec.get(f"{spec.get(role)}_quantised", []))]
        )
        for role in ("donor", "recipient")
        if f"{spec.get(role)}_path" in spec
    ]
    windows = [str(width) for width in dict.fromkeys(_listed(spec.get("window", []))) if width is not None]
    scopes = [_SCOPES[scope] for scope in dict.fromkeys(_listed(spec.get("scope"))) if scope in _SCOPES]
    parts = [
        escape(" → ".join(names), quote=False),
        f"window of {' or '.join(windows)} layer{'' if windows == ['1'] else 's'}" if windows else "",
        " or ".join(scopes),
        counted(n_prompts, "prompt"),
    ]
    return " · ".join(part for part in parts if part)


def number(value: float) -> str:
    """Three digits, with a real minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def counted(number: int, noun: str) -> str:
    """``1 prompt``, ``2 prompts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def wrapped(sentences: list[str], width: int = 118) -> str:
    """Sentences as lines of plotly text of at most ``width`` characters."""
    return "<br>".join(textwrap.wrap(" ".join(sentence for sentence in sentences if sentence), width))


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]
