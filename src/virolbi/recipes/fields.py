"""Types and limits of the settings of a recipe, and what is said of wrong ones."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

# Largest values of settings. Each is far beyond any sane run, and keeps a slip of the keyboard, or
# a number in another unit, from being a run that never ends or does not fit in any memory.
MAX_EPOCHS = 100_000  # ImageNet is trained for 90 to 600
MAX_SIZE = 16_384  # pixels a side; one colour image of this size takes 3 GiB as float32
MAX_IMAGES = 10_000_000_000  # the largest public data sets have about 6 billion
MAX_BATCH_SIZE = 1_000_000  # more than the 32,768 of ImageNet in minutes, on thousands of devices
MAX_ROUNDS = 10_000  # sparsities of neighbouring rounds then differ by less than 0.0001
MAX_RATE = 1e6  # of learning and of decay; larger ones overflow in single precision
MAX_CONSISTENCY = 1e6  # 12 is usual
MAX_ATTACK_STEPS = 10_000  # each takes a pass and its gradient; 7 to 50 are usual in training


def _refuse_boolean(value: Any, error: Literal["float_type", "int_type"]) -> Any:
    """Return a value, or raise an error of pydantic for true and false, its 1 and 0."""
    if isinstance(value, bool | np.bool_):
        raise PydanticKnownError(error)
    return value


# The types of all settings that are numbers.
Real = Annotated[float, BeforeValidator(partial(_refuse_boolean, error="float_type"))]
Whole = Annotated[int, BeforeValidator(partial(_refuse_boolean, error="int_type"))]
Share = Annotated[Real, Field(ge=0, le=1)]
Positive = Annotated[Real, Field(gt=0)]
Amount = Annotated[Whole, Field(ge=0)]

# Rules for settings that are lists, of numbers and of texts.
LIST_RULES = {
    "mix": "a list of numbers, such as [0.7, 0.9]",
    "views": 'a list of texts, such as ["clean", "augmix noise"]',
    "frozen": 'a list of texts, such as ["layer1*"]',
}
# Other rules in plain words, by the type of an error of pydantic; the others are in its message.
RULES_BY_ERROR = {
    "too_short": "a list of one number or more",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "string_type": "a text",
}


def format_errors(errors: Sequence[Any], settings: Iterable[str]) -> str:
    """Return one sentence for each wrong setting: its name, its rules and its value.

    Parameters
    ----------
    errors : sequence of dict
        Errors of pydantic. A setting that may have one of several types has one for each of them.
    settings : iterable of str
        Names of all settings.

    Returns
    -------
    str
        The sentences.
    """
    rules, messages = dict[str, list[str]](), dict[str, str]()
    for error in errors:
        name = ".".join(str(part) for part in error["loc"][:1])
        if error["type"] == "value_error":
            messages[name] = str(error["ctx"]["error"])
        elif error["type"] == "extra_forbidden":
            messages[name] = f"{name} is not a setting; the settings are {', '.join(settings)}"
        else:
            rule = RULES_BY_ERROR.get(error["type"], error["msg"].removeprefix("Input should be "))
            rule = LIST_RULES[name] if error["type"] == "tuple_type" else rule
            rules[name] = [*rules.get(name, []), rule]
            messages[name] = f"{name} must be {' or '.join(rules[name])}, got {error['input']!r}"
    return "; ".join(messages.values())
