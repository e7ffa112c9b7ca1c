"""Nothing that files hold acts on a terminal."""

import unicodedata

import pytest

from dissect.errors import DissectError
from dissect.visible import visible

HOSTILE = [
    "\x1b]0;title\x07",  # sets the title
    "\x1b[2J\x1b[1;1H",  # clears the screen
    "\x9b31m",  # the same introducer in one byte
    "\rerror",  # overwrites the line
    "\x08\x7f",
    "\u202egpj.exe",  # turned round
    "\u2066\u2069\u200e\u200f\u061c",
    "\ud800",  # half of a character, which no terminal's encoding has
    "\u2028\u2029\x85",  # further ends of lines
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_would_act_is_spelt_out(text):
    shown = visible(f"a{text}b")
    assert shown.isprintable() and shown[0] == "a" and shown[-1] == "b"
    shown.encode("utf-8")


def test_every_character_that_acts_and_no_letter():
    acting = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")]
    assert all(visible(c).isascii() and visible(c).isprintable() for c in acting if c not in "\n\t")
    letters = "Ærø, 東京, مرحبا, नमस्ते, שלום, \N{MINUS SIGN}1, 🇫🇷, 👩\u200d🚀, ب\u200cب, \xa0"
    assert visible(letters) == letters


def test_lines_are_kept_where_they_are_ours():
    assert visible("a\n\tb") == "a\n\tb"
    assert visible("a\nb", lines=False) == "a\\nb"


def test_what_was_shown_is_shown_the_same_again():
    for text in HOSTILE:
        assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_in_python_show_it_too(text):
    assert str(DissectError(f"no file {text}")).isprintable()
