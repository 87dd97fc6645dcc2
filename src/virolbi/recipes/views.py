"""Views of a training image: what is done to it before the network sees it, as text."""

from dataclasses import dataclass

# Steps of a view; `virolbi.training.views` says what each does.
STEPS = (
    *("augmix", "prime", "apr-single", "apr-pair"),
    *("equalise", "blur", "noise", "smooth"),
)
CLEAN = "clean"  # an alternative without steps


@dataclass(frozen=True)
class Alternative:
    """One of the ways in which a view may change an image.

    Parameters
    ----------
    share : float
        Probability of this alternative, in [0, 1].
    steps : tuple of str
        Names of steps, in the order in which they change the image.
    """

    share: float
    steps: tuple[str, ...]


def parse_view(text: str) -> tuple[Alternative, ...]:
    """Return the alternatives of a view.

    Parameters
    ----------
    text : str
        Names of `STEPS` with spaces between them, or "clean" for none. Alternatives are separated
        by "|"; each image gets one of them, all with the same probability.

    Returns
    -------
    tuple of Alternative
        One alternative or more.

    Raises
    ------
    ValueError
        If a step does not exist, or if an alternative is empty.

    Examples
    --------
    >>> parse_view("augmix noise | clean")[0]
    Alternative(share=0.5, steps=('augmix', 'noise'))
    """
    chains = [tuple(chain.split()) for chain in text.split("|")]
    for chain in chains:
        unknown = [step for step in chain if step not in STEPS]
        if chain != (CLEAN,) and (unknown or not chain):
            raise ValueError(
                f"views must be made of the steps {', '.join(STEPS)}, or {CLEAN!r} alone, "
                f"got {text!r}"
            )
    return tuple(
        Alternative(1 / len(chains), () if chain == (CLEAN,) else chain) for chain in chains
    )
