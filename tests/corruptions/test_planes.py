import numpy as np

from virolbi.corruptions._planes import apply_matrices


def test_a_matrix_along_each_axis_is_the_product_with_it():
    rng = np.random.default_rng(0)
    rows, columns = (
        rng.normal(size=(5, 9)).astype(np.float32),
        rng.normal(size=(11, 7)).astype(np.float32),
    )
    rows[:, :2] = columns[3] = 0
    images = rng.normal(size=(3, 2, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(
        apply_matrices(images, rows, columns), rows @ images @ columns.T, atol=1e-5
    )
