"""The checkpoint's own tokenizer: never TransformerLens's ``set_tokenizer``, which guesses whether it adds a BOS."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformer_lens import HookedTransformer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dissect.errors import DissectError

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}

logger = logging.getLogger(__name__)


def has_tokenizer(directory: Path) -> bool:
    """Return True if a directory holds a tokenizer."""
    return any((directory / name).is_file() for name in _FILES)


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer in a directory; None, with a warning in the log, where there is none.

    Raises:
        DissectError: its files cannot be read.
    """
    if not has_tokenizer(directory):
        logger.warning("%s has no tokenizer files: the model is loaded without a tokenizer", directory)
        return None
    try:
        return AutoTokenizer.from_pretrained(str(directory), **_SAFELY)
    except Exception as error:  # every backend raises errors of its own, down to a bare Exception
        reason = " ".join(str(error).split())[:300]
        why = "comes with code, which is not run" if "custom code" in str(error) else f"is not what it says ({reason})"
        with suppress(Exception):  # mostly it is config.json that cannot be read, where the class is looked up
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(directory), **_SAFELY)
            logger.warning("the tokenizer in %s %s: tokenizer.json is read", directory, why)
            return tokenizer
        if "custom code" in str(error) or "trust_remote_code" in str(error):
            raise DissectError(
                f"the tokenizer in {directory} comes with code, which is not run, and has no tokenizer.json: have its "
                "authors save it as tokenizer.json"
            ) from None
        raise DissectError(f"the tokenizer in {directory} cannot be read: {reason}") from error


def attach_tokenizer(model: HookedTransformer, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """Give ``model`` its tokenizer; returns the tokenizer's own padding side, which becomes ``right``.

    TransformerLens adds or removes a BOS where its ``default_prepend_bos`` and ``tokenizer_prepends_bos`` differ, so
    both are set to what the tokenizer does. With padding on the left it would mask every token that equals the
    padding token, in the forward pass of given tokens too.
    """
    model.tokenizer = tokenizer
    model.cfg.default_prepend_bos = model.cfg.tokenizer_prepends_bos = False
    if tokenizer is None:
        return "right"
    ids = tokenizer("a")["input_ids"]
    adds_bos = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    model.cfg.default_prepend_bos = model.cfg.tokenizer_prepends_bos = adds_bos
    if len(tokenizer) > model.cfg.d_vocab:
        logger.warning("the tokenizer has %d tokens, the model's embedding %d rows", len(tokenizer), model.cfg.d_vocab)
    side = str(tokenizer.padding_side)
    tokenizer.padding_side = "right"
    return side
