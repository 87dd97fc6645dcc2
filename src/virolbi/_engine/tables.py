"""Functions of many numbers, by a table."""

from virolbi._engine.compile import compiled


@compiled
def look_up(plane, low, step, table, result):
    """Write a function of values from its table at low, low + step, ..., linear in between.

    plane, result: (H, W). Beyond the table its first or last piece goes on.
    """
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            place = (plane[y, x] - low) / step
            piece = min(max(int(place), 0), len(table) - 2)
            result[y, x] = table[piece] + (place - piece) * (table[piece + 1] - table[piece])
