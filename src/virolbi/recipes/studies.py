"""Studies: questions with the comparisons that answer them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from virolbi._checks import check_choices
from virolbi.recipes.catalogue import read_toml


@dataclass(frozen=True)
class Study:
    """A question, and what to compare to answer it.

    Parameters
    ----------
    question : str
        The question.
    comparisons : mapping of str to str
        Corruptions to judge under, names with commas between them or the name of a group, by data
        set and model, such as "cifar10-resnet8".
    arms : mapping of str to mapping
        Changed settings of each arm, by its name; "arm" is the arm to start from, by default that
        of the same name.
    attacked : int, optional
        Number of test images that are attacked; 0 for none.
    smooth : tuple of float or "auto", optional
        More sparsities in front of networks that were trained on smoothed images.
    """

    question: str
    comparisons: Mapping[str, str]
    arms: Mapping[str, Mapping[str, Any]]
    attacked: int = 200
    smooth: tuple[float | str, ...] = ()

    def select(self, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Return some of the arms.

        Parameters
        ----------
        names : iterable of str
            Names of arms of the study.

        Returns
        -------
        dict of str to mapping
            The changed settings of each arm, by its name.

        Raises
        ------
        ValueError
            If there is no such arm in the study.
        """
        chosen = list(names)
        check_choices("arms", chosen, self.arms)
        return {name: self.arms[name] for name in chosen}


def studies() -> dict[str, Study]:
    """Return the studies that come with the package.

    Returns
    -------
    dict of str to Study
        The studies by their names.

    Examples
    --------
    >>> studies()["sparsities"].arms["fixed 0.9"]["sparsity"]
    0.9
    """
    return {
        name: Study(**settings | {"smooth": tuple(settings.get("smooth", ()))})
        for name, settings in read_toml("studies.toml").items()
    }
