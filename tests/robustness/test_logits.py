import pytest
import torch

from virolbi.robustness import check_logit_shape


@pytest.mark.parametrize(
    ("logits", "settings", "message"),
    [
        (torch.zeros(2, 3), {"classes": 4}, r"shape \(2, 4\), got \(2, 3\)"),
        (torch.zeros(3, 3), {}, r"shape \(2, classes\), got \(3, 3\)"),
        (torch.zeros(2, 3, 1), {}, r"shape \(2, classes\), got \(2, 3, 1\)"),
        (torch.zeros(2, 1), {"least": 2, "note": " or so"}, r"classes\) or so, got \(2, 1\)"),
        ([torch.zeros(2, 3)], {}, "got list"),
    ],
)
def test_anything_but_one_row_of_logits_for_each_image_is_refused(logits, settings, message):
    check_logit_shape("network", torch.zeros(2, 3), 2, 3)
    with pytest.raises(ValueError, match=f"^network must return logits .*{message}$"):
        check_logit_shape("network", logits, 2, **settings)
