"""The learning rate over a training run."""

import math

from virolbi.recipes import Recipe

# share of the steps in which the learning rate rises to its peak
WARM_UP = {"one-cycle": 0.3, "cosine": 0.05}


def learning_rate(recipe: Recipe, done: float) -> float:
    """Return the learning rate at a moment of training.

    It rises to its peak and falls to zero by a half cosine. In the schedule "one-cycle" it rises
    from half the peak over 30 % of the steps, by a half cosine too. In "cosine" it rises from zero
    over 5 % of the steps, linearly.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    done : float
        Share of all steps that is over, in [0, 1].

    Returns
    -------
    float
        Learning rate.
    """
    warm_up = WARM_UP[recipe.schedule]
    if done >= warm_up:
        share = (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2
    elif recipe.schedule == "one-cycle":
        share = 0.75 - 0.25 * math.cos(math.pi * done / warm_up)
    else:
        share = done / warm_up
    return recipe.learning_rate * share
