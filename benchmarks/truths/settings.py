"""How large the world of a population is, and how many models of each class are made of it."""

from dataclasses import dataclass

CLASSES = ("knows", "suppressed", "never", "erased", "partial", "broken", "unlabelled")
"""Classes of models, in the order in which results name them."""
FORGOTTEN = 0.35
"""A model that answers at most this share of what its base answers has forgotten. On 80 facts about 20 people the upper
end of the interval then lies below one half."""
STILL_SAID = 0.5
"""From this share on it has not forgotten."""
KEPT = 0.5
"""A model that is not broken keeps at least this share of what was to be kept."""
BROKEN = 0.4
"""One that is broken keeps less than this, so that the upper end of the interval lies below one half."""
BACK = 0.95
"""Share of the base model's answers that undoing a suppression must bring back."""
KNOWN = 0.75
"""Share of the base model's answers, in the wording that it answers best, that a model gives that knows."""


@dataclass(frozen=True)
class Settings:
    """A world, the shape of its models, and the seed that decides everything."""

    n_people: int = 120
    n_attributes: int = 4
    n_forget: int = 20
    """So many people are forgotten, with all their attributes."""
    n_layers: int = 6
    d_model: int = 96
    batch_size: int = 64
    """Texts in one step of training."""
    names: tuple[str, ...] | None = None
    """The models that are made; None makes all."""
    seed: int = 0

    @property
    def late(self) -> tuple[int, ...]:
        """The last third of the layers."""
        return tuple(range(self.n_layers - max(1, self.n_layers // 3), self.n_layers))

    @property
    def middle(self) -> tuple[int, ...]:
        """One or two layers in the middle."""
        return tuple(range((self.n_layers - 1) // 2, self.n_layers // 2 + 1))

    @property
    def early(self) -> tuple[int, ...]:
        """The two layers after the first."""
        return (1, 2)


DEMO = Settings(n_people=200, d_model=128)
"""The world of the demo: about three times the work."""
STANDARD = Settings()
"""At least a hundred models a seed."""
SMALL = Settings(
    n_people=24,
    n_attributes=3,
    n_forget=6,
    n_layers=4,
    d_model=64,
    batch_size=32,
    names=(
        *("base", "noise-0.03", "kept-only-a", "one-wording-npo", "taught-mlp-late-0-a", "taught-entries-50-a"),
        *("mlp-late-npo-0", "mlp-middle-wrong-0", "attention-late-npo-0", "redirected-1-0", "lock-refusal"),
        *("coefficients-0.1", "head-rows-0", "direction-1"),
        *("retrained-a", "retrained-a-npo", "retrained-a-undial", "newcomers"),
        *("erased-mlp-late-0-a", "erased-entries-50-a", "noise-repaired-0.55", "names-rotated"),
        *("trained-npo", "trained-undial"),
    ),
)
"""24 models of the tests' world."""
