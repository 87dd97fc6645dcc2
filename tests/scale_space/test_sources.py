from virolbi.scale_space import SMOOTHER_DIGEST
from virolbi.scale_space.sources import digest_sources


def test_the_digest_of_the_smoother_changes_with_each_of_its_files(tmp_path):
    digests = [SMOOTHER_DIGEST]
    for folder in ("_engine", "scale_space", "nn", "nn/kernels", "data"):
        (tmp_path / folder).mkdir()
        for content in (b"a = 1\n", b"a = 2\n"):
            (tmp_path / folder / "module.py").write_bytes(content)
            digests.append(digest_sources(tmp_path))
    assert len(set(digests[:9])) == 9
    assert digests[9:] == digests[8:9] * 2  # other packages do not count
