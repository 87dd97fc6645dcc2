"""Functions of many numbers, by a table."""

from virolbi._engine.compile import compiled


@compiled
def look_up(values, step, table, result):
    """Write a function of values from its table at 0, step, 2 step, ..., linear in between.

    values, result: (n,). Beyond the table its first or last piece goes on.
    """
    for x in range(len(values)):
        place = values[x] / step
        piece = min(max(int(place), 0), len(table) - 2)
        result[x] = table[piece] + (place - piece) * (table[piece + 1] - table[piece])
