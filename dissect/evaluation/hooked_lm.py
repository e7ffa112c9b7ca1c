"""lm-eval's own tasks on a hooked model, also while activations of another are patched in."""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.hook_points import HookPoint

from dissect.errors import DissectError
from dissect.keywords import keywords
from dissect.models.changing.hooked import hooked
from dissect.models.running.forward import caching, final_residual, logits_at
from dissect.models.running.generate import eos_token_ids, greedy
from dissect.patching.sites import Component, check_components, hook_name
from dissect.undoing.gradient_mode import without_gradients

Request = tuple[Any, list[int], list[int]]
"""What lm-eval hands over: the texts, the ids of the context, the ids to score."""


@keywords()
def hooked_lm(
    model: HookedTransformer,
    *,
    donor: HookedTransformer | None = None,
    components: Component = "mlp_post",
    layers: Iterable[int] | None = None,
    batch_size: int = 32,
    max_new_tokens: int = 256,
) -> Any:
    """Return a hooked model as lm-eval's ``LM``, to be given to ``lm_eval.simple_evaluate(model=...)``.

    Whatever is done to the model holds for the task: hooks, and ``dissect.restored`` around the call. With ``donor``
    every pass runs with the donor's activations on the same text in place of the model's own, as in ``dissect.patch``.

    Args:
        model: from ``dissect.load``.
        donor: the model whose activations are patched in.
        components: a site, or several that are swapped together; for ``donor``.
        layers: the layers that are swapped, all by default; for ``donor``.
        batch_size: texts in one forward pass.
        max_new_tokens: longest answer where a task does not say.

    Raises:
        DissectError: lm-eval is not installed, the model has no tokenizer, or a site or layer that does not exist.

    Example:
        >>> lm = dissect.hooked_lm(pair.unlearned, donor=pair.base, layers=[4])  # doctest: +SKIP
        >>> lm_eval.simple_evaluate(model=lm, tasks=["wmdp_bio"])["results"]  # doctest: +SKIP
    """
    try:
        template = importlib.import_module("lm_eval.api.model").TemplateLM
    except ImportError as error:
        raise DissectError(
            "hooked_lm needs lm-eval, and it is not installed: pip install 'dissect-unlearning[lm-eval]'"
        ) from error
    if getattr(model, "tokenizer", None) is None:
        raise DissectError("the model has no tokenizer: load a checkpoint with one, or set model.tokenizer")
    made = type("HookedLM", (_HookedLM, template), {})()
    made.model, made.donor, made.tokenizer = model, donor, model.tokenizer
    made.batch_size, made.max_length, made.max_new_tokens = batch_size, model.cfg.n_ctx, max_new_tokens
    made.names = [] if donor is None else _names(model, components, layers)
    return made


def _names(model: HookedTransformer, components: Component, layers: Iterable[int] | None) -> list[str]:
    chosen = list(range(model.cfg.n_layers) if layers is None else layers)
    if not chosen or not set(chosen) <= set(range(model.cfg.n_layers)):
        raise DissectError(f"layers must be some of 0 to {model.cfg.n_layers - 1}, got {chosen}")
    ((_, sites),) = check_components(model, [components]).items()
    return [hook_name(site, layer) for layer in chosen for site in sites]


class _HookedLM:
    """What lm-eval asks of a model; its own ``TemplateLM`` splits texts into context and continuation."""

    model: HookedTransformer
    donor: HookedTransformer | None
    tokenizer: Any
    batch_size: int
    max_length: int
    max_new_tokens: int
    names: list[str]
    """Hooks at which the donor's activations are put in."""

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; a text that begins with the BOS already gets no second one."""
        if add_special_tokens is None:
            add_special_tokens = not string.startswith(self.tokenizer.decode([self.prefix_token_id]))
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def _loglikelihood_tokens(self, requests: Sequence[Request], **kwargs: Any) -> list[tuple[float, bool]]:
        """Log p of each continuation; whether greedy decoding would say it; long contexts lose their beginning."""
        inputs = [tuple((before + after)[-(self.max_length + 1) :][:-1]) for _, before, after in requests]
        reach: dict[tuple[int, ...], int] = {}  # texts that differ in their last token share a pass
        for row, (_, _, after) in zip(inputs, requests, strict=True):
            reach[row] = max(reach.get(row, 0), len(after))
        logs = self._log_softmax(reach)
        results = []
        for row, (_, _, after) in zip(inputs, requests, strict=True):
            own, targets = logs[row][-len(after) :], torch.tensor(after)
            scored = own.gather(-1, targets[:, None]).double().sum()
            results.append((float(scored), bool((own.argmax(-1) == targets).all())))
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log p of whole texts, in lm-eval's own windows."""
        utils = importlib.import_module("lm_eval.utils")
        totals = []
        for (text,) in (request.args for request in requests):
            windows = utils.get_rolling_token_windows(
                self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1
            )
            pairs = [(None, *utils.make_disjoint_window(window)) for window in windows]
            totals.append(sum(score for score, _ in self._loglikelihood_tokens(pairs)))
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers, cut off before the first of a request's stop texts.

        Raises:
            DissectError: a task that wants random answers.
        """
        said = []
        for text, settings in (request.args for request in requests):
            if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
                raise DissectError(
                    "the task wants random answers, and only greedy ones are given: set do_sample: false"
                )
            until = settings.get("until") or []
            room = int(settings.get("max_gen_toks", self.max_new_tokens))
            ids = self.tok_encode(text)[-max(1, self.max_length - room) :]
            answer = self.tokenizer.decode(self._continued(ids, room), skip_special_tokens=True)
            for stop in [until] if isinstance(until, str) else until:
                answer = answer.split(stop)[0] if stop else answer
            said.append(answer)
        return said

    def _continued(self, ids: list[int], room: int) -> list[int]:
        ends = eos_token_ids(self.model)
        if not self.names:
            prompt = torch.tensor(ids)
            return greedy(self.model, [prompt], max_new_tokens=room, eos_ids=ends, progress=False)[0].tolist()
        new: list[int] = []
        while len(new) < room and len(ids) + len(new) < self.max_length:  # the donor reads every text as far as it goes
            row = (*ids, *new)
            best = int(self._log_softmax({row: 1})[row][-1].argmax())
            if best in ends:
                break
            new.append(best)
        return new

    @without_gradients()
    def _log_softmax(self, reach: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], Float[Tensor, "last d_vocab"]]:
        """For each text the log-probabilities after its last tokens, as many as ``reach`` says."""
        rows = sorted(reach, key=len, reverse=True)
        logs: dict[tuple[int, ...], Tensor] = {}
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            tokens = torch.zeros(len(part), len(part[0]), dtype=torch.int64)
            where = torch.zeros_like(tokens, dtype=torch.bool)
            for i, row in enumerate(part):
                tokens[i, : len(row)] = torch.tensor(row)
                where[i, len(row) - reach[row] : len(row)] = True
            device = self.model.embed.W_E.device
            residual = self._residual(tokens.to(device))
            scored = logits_at(self.model, residual, where.to(device)).log_softmax(-1).cpu()
            logs |= zip(part, scored.split([reach[row] for row in part]), strict=True)
        return logs

    def _residual(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        if self.donor is None:
            return final_residual(self.model, tokens)
        with caching(self.donor, self.names) as donated:
            final_residual(self.donor, tokens.to(self.donor.embed.W_E.device))

        def swap(activation: Tensor, hook: HookPoint) -> Tensor:
            return donated[str(hook.name)].to(device=activation.device, dtype=activation.dtype)

        with hooked(self.model, [(name, swap) for name in self.names]):
            return final_residual(self.model, tokens)
