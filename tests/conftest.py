"""Real images for tests, from packages that ship them, in an environment without network access.

Triton kernels run in its interpreter. Tests in a browser (the marker "browser") run where Chromium,
Playwright and Gradio are installed, and are deselected elsewhere.
"""

import importlib.util
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
# Triton reads it when it is imported; `benchmarks/device.py` sets it to 0, to test on a GPU
os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
CAN_BROWSE = CHROMIUM and all(map(importlib.util.find_spec, ("playwright", "gradio")))


def pytest_collection_modifyitems(config, items):
    """Deselect the tests in a browser where there is none."""
    if not CAN_BROWSE:
        left_out = [item for item in items if item.get_closest_marker("browser")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium of this system."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def weak_contrasts():
    """Function that returns the texts of a page whose contrast is under 4.5, as WCAG 2 counts."""
    return lambda page: page.evaluate(CONTRASTS)


CONTRASTS = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(
      v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})
        || element.closest("svg, script, style")) continue;
    const [a, b] = [getComputedStyle(element).color, null].map(
        (color, i) => light(i ? ground(element) : parse(color)));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


@pytest.fixture
def act_as_accelerator(monkeypatch):
    """Function that lets the layer use torch operations for tensors on the CPU, or no longer."""
    return lambda acting=True: monkeypatch.setattr(
        "virolbi.nn.layer._on_accelerator", lambda images: acting
    )


@pytest.fixture(scope="session")
def photographs():
    """48 real colour images of 32x32 pixels, uint8, (N, H, W, 3).

    They are tiles of two photographs, box-reduced by 3.
    """
    tiles = []
    for name in ("china.jpg", "flower.jpg"):
        small = np.asarray(Image.fromarray(load_sample_image(name)).reduce(3))
        tiles += [
            small[i : i + 32, j : j + 32] for i in range(0, 128, 32) for j in range(0, 192, 32)
        ]
    return np.stack(tiles)


@pytest.fixture(scope="session")
def planes(photographs):
    """50 real grey planes of 32x32 pixels in [0, 1], float32, with few flat areas."""
    candidates = (photographs / np.float32(255)).transpose(0, 3, 1, 2).reshape(-1, 32, 32)
    rough = np.argsort(
        [
            -np.count_nonzero(np.diff(plane)) - np.count_nonzero(np.diff(plane, axis=0))
            for plane in candidates
        ],
        kind="stable",
    )
    return candidates[np.sort(rough[:50])]


@pytest.fixture(scope="session")
def noisy(photographs):
    """8 small colour images with Gaussian noise, float64, (N, 3, 12, 12); no ties or flat areas."""
    rng = np.random.default_rng(0)
    images = photographs[::6, :12, :12].transpose(0, 3, 1, 2) / 255
    return np.clip(images + rng.normal(0, 0.05, images.shape), 0.001, 0.999) + rng.uniform(
        0, 1e-4, images.shape
    )


@pytest.fixture
def folder_of_images(tmp_path):
    """A folder with a folder for each class: 30 bright and 30 dark grey images of 12x12 pixels."""
    rng = np.random.default_rng(1)
    for name, level in (("bright", 200), ("dark", 50)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(30):
            pixels = np.clip(rng.normal(level, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index:02}.png")
    return tmp_path / "pictures"


@pytest.fixture
def folder_with_12_bits(tmp_path):
    """A folder with a folder for each class: 10 images each, of 12x12 pixels, 12 bits in uint16."""
    rng = np.random.default_rng(2)
    for name, level in (("bright", 3000), ("dark", 1000)):
        (tmp_path / "microscope" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.clip(rng.normal(level, 500, (12, 12)), 0, 4095).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / "microscope" / name / f"{index:02}.png")
    return tmp_path / "microscope"
