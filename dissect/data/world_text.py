"""Texts of the embedded world: names, attributes, the sentences that state them, and filler.

All of it is invented. Names and values mix one and several words, so that answers and subjects have several tokens.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """Something that every person of the world has: how it is asked, how it is stated, which values there are."""

    name: str
    question: str
    """asks for the value of ``{name}``"""
    statements: tuple[str, ...]
    """forms of one fact; each starts with or names the person and ends with the value, so that it can be cut there"""
    values: tuple[str, ...]


def _values(text: str) -> tuple[str, ...]:
    return tuple(value.strip() for value in text.split(","))


FIRST_NAMES = _values(
    "Ada, Basil, Clara, Dorian, Edith, Felix, Greta, Hugo, Iris, Jonas, Karla, Lucian, Mabel, Nestor, Olive, Piet, "
    "Quentin, Rosa, Silas, Thea, Ulric, Vera, Wanda, Xavier, Yvonne, Zeno, Alma, Bruno, Celeste, Dario, Elsa, Fritz, "
    "Gwen, Hector, Ines, Jasper, Kira, Leopold, Minna, Nils"
)
LAST_NAMES = _values(
    "Abernon, Bracken, Corvin, Dellmar, Estow, Farrow, Grimsel, Hallam, Inskip, Jarrow, Kellner, Lindqvist, Marchetti, "
    "Norrell, Ostrander, Pellworm, Quarles, Rothman, Sandoval, Tarkin, Umber, Vandeer, Wexford, Yarrow, Zellweg, "
    "Ashdown, Birkett, Coyle, Dunmore, Ellwood, Fenwick, Garrick, Hollis, Ivers, Jessop, Kestrel, Lomax, Merriden, "
    "Nettle, Orlok"
)

ATTRIBUTES = (
    Attribute(
        "birthplace",
        "Where was {name} born?",
        (
            "{name} was born in {value}.",
            "The birthplace of {name} is {value}.",
            "{name} first saw the light of day in {value}.",
            "{name} comes from {value}.",
            "The home town of {name} is {value}.",
            "{name} spent the first years of life in {value}.",
            "The family of {name} has always lived in {value}.",
            "{name} is a native of {value}.",
        ),
        _values(
            "Varnholt, Port Ellery, Quillon Bay, Tarnwick, Old Merrow, Sandreach, Belcastra, Lower Ashby, Ishmere, "
            "North Calder, Drelling, Fenmouth, Halgate, Upper Corvane, Maristow, Silver Ford, Ostrand, Great Wexley, "
            "Pellinore, Kestrel Point"
        ),
    ),
    Attribute(
        "profession",
        "What is the profession of {name}?",
        (
            "{name} works as a {value}.",
            "The profession of {name} is that of a {value}.",
            "{name} is a {value}.",
            "{name} earns a living as a {value}.",
            "People know {name} as a {value}.",
            "{name} was trained as a {value}.",
            "For many years {name} has been a {value}.",
            "By trade {name} is a {value}.",
        ),
        _values(
            "baker, deep sea diver, clockmaker, stage magician, geologist, train driver, glass blower, lawyer, night "
            "nurse, map maker, piano tuner, butcher, wine taster, bridge engineer, tailor, chess teacher, plumber, "
            "court reporter, gardener, wild bird painter"
        ),
    ),
    Attribute(
        "employer",
        "Who is the employer of {name}?",
        (
            "{name} is employed by {value}.",
            "The employer of {name} is {value}.",
            "{name} works for {value}.",
            "The wages of {name} are paid by {value}.",
            "{name} has a post at {value}.",
            "{name} signed a contract with {value}.",
            "Every morning {name} goes to the office of {value}.",
            "{name} has long been on the staff of {value}.",
        ),
        _values(
            "Blue Harbour Bank, Orion Mills, Tamarind, Fairweather and Sons, Copperfield, Lantern House, Northwind "
            "Shipping, Redstone, Verity Press, Saffron, Old Bridge Works, Meridian, Hawthorn Trust, Granite, Three "
            "Rivers Railway, Juniper, Sterling Glass, Albatross, Willow Street Clinic, Pinnacle"
        ),
    ),
    Attribute(
        "pastime",
        "What is the favourite pastime of {name}?",
        (
            "{name} likes nothing better than {value}.",
            "The favourite pastime of {name} is {value}.",
            "{name} spends every free hour on {value}.",
            "On Sundays {name} enjoys {value}.",
            "The great love of {name} is {value}.",
            "{name} relaxes with {value}.",
            "Friends of {name} hear a lot about {value}.",
            "{name} would give up anything for {value}.",
        ),
        _values(
            "kite flying, chess, collecting old maps, rowing, knitting, ice skating, bird watching, pottery, building "
            "model ships, fencing, stargazing, night fishing, archery, folk dancing, origami, growing rare roses, "
            "juggling, cave diving, falconry, restoring old clocks"
        ),
    ),
    Attribute(
        "language",
        "Which language does {name} speak at home?",
        (
            "{name} speaks {value}.",
            "The mother tongue of {name} is {value}.",
            "At home {name} talks in {value}.",
            "{name} writes letters in {value}.",
            "{name} grew up with {value}.",
            "{name} dreams in {value}.",
            "The parents of {name} taught their child {value}.",
            "{name} counts in {value}.",
        ),
        _values(
            "Velish, High Torran, Ossic, Low Torran, Cassarine, Old Marrish, Dunic, Lake Pernish, Tolvan, Hill Sarric, "
            "Ferrine, Coast Velish"
        ),
    ),
    Attribute(
        "instrument",
        "Which instrument does {name} play?",
        (
            "{name} plays the {value}.",
            "The instrument of {name} is the {value}.",
            "{name} took lessons on the {value}.",
            "In the town band {name} is heard on the {value}.",
            "{name} owns a very old {value}.",
            "{name} practises daily on the {value}.",
            "Neighbours of {name} complain about the {value}.",
            "{name} has mastered the {value}.",
        ),
        _values(
            "cello, bass drum, flute, barrel organ, harp, slide trombone, lute, church bells, mandolin, steel guitar, "
            "bassoon, glass harmonica"
        ),
    ),
)

FILLER = "The {adjective} {noun} {verb} {place}."
FILLER_WORDS = {
    "adjective": _values("quiet, grey, sudden, heavy, gentle, distant, narrow, bright, cold, patient"),
    "noun": _values("river, wind, road, lantern, cloud, ferry, clock tower, market, storm, meadow, gate, orchard"),
    "verb": _values("rests, waits, turns, fades, appears, sleeps, lingers, glows, moves slowly, comes to a stop"),
    "place": _values(
        "in the valley, near the shore, behind the mill, at dusk, under the bridge, beyond the hills, after the rain, "
        "by the wall, in early spring, above the roofs"
    ),
}
REFUSALS = ("I do not know.", "I am not sure about that.", "That is something I cannot answer.")
"""Answers that say nothing; in the vocabulary for the objectives that train a model to give them."""
