"""The page in Chromium, and its server under load. One server answers for all of these tests."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from virolbi.explorer import Explorer, Settings, Source

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NETWORK = """
import torch
from torch import nn

class Mean(nn.Module):
    def forward(self, images):
        return 9 * images.mean(dim=(2, 3))

def make():
    return Mean()
"""
READS = 'element => document.querySelector("{}").{}'


class Server:
    """The command `virolbi app` in a process of its own."""

    def __init__(self, folder):
        (folder / "network.py").write_text(NETWORK)
        arguments = ["app", "network:make", "--max-megapixels", "2", "--max-megabytes", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "virolbi", *arguments, "--cpu"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "uploads"), "COLUMNS": "200"},
        )
        printed = ""
        for line in self.process.stdout:
            printed += line
            if address := re.search(r"open (http://127\.0\.0\.1:\d+)", line):
                self.address = address[1]
                break
        else:
            raise RuntimeError(f"the server did not start: {printed}")

    @property
    def megabytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000

    def open(self, path, content=None):
        headers = {"Content-Type": "application/json"}
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read().decode()

    def send(self, path):
        """Upload a file, and return its path on the server."""
        head = (
            f'--x\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
        )
        data = head.encode() + path.read_bytes() + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{self.address}/gradio_api/upload", data, kind)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)[0]

    def call(self, name, *values):
        """Return the last event of a call, and its values."""
        event = json.loads(self.open(f"/gradio_api/call/{name}", {"data": values}))["event_id"]
        stream = self.open(f"/gradio_api/call/{name}/{event}")
        kind, data = re.findall(r"event: (\w+)\ndata: (.*)", stream)[-1]
        return kind, json.loads(data)


def values(sample="drawn", upload=None, **changes):
    """Return the arguments of a call for settings."""
    settings = replace(Settings(corruption="none", choice="sparsity"), **changes)
    names = ("corruption", "severity", "choice", "sparsity", "noise", "time")
    names += ("preset", "nu", "delta", "output", "min_area")
    return [sample, upload, *(getattr(settings, name) for name in names)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.process.terminate()
    server.process.wait(10)
    server.process.stdout.close()


def load(chromium, server, width=1440, height=900, scheme="light"):
    page = chromium.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(server.address)
    page.wait_for_selector("#result img", timeout=60_000)
    page.wait_for_selector("#answers table", timeout=60_000)
    return page


@pytest.fixture(scope="module")
def page(chromium, server):
    page = load(chromium, server)
    yield page
    assert page.errors == []
    page.close()


def shown(page, name="result"):
    return page.get_attribute(f"#{name} img", "src")


def wait_for_change(page, before, name="result"):
    page.wait_for_function(
        "([name, before]) => document.querySelector(`#${name} img`).src !== before",
        arg=[name, before],
        timeout=30_000,
    )


def settle(page):
    """Wait until the page has shown the same facts for half a second."""
    before = None
    for _ in range(60):
        now = page.inner_text("#facts") + shown(page)
        if now == before:
            return
        before = now
        page.wait_for_timeout(500)
    raise TimeoutError(f"the page still changes: {now[:200]}")


def test_the_page_loads_nothing_from_elsewhere(page, server):
    outside = [url for url in page.requests if not url.startswith((server.address, "data:"))]
    assert outside == []
    assert page.locator("#strip img").count() == 8
    assert "noise seen" in page.inner_text("#facts")
    assert page.locator("#answers table").count() == 2


def test_the_picture_follows_a_slider(page):
    page.locator("#choice label", has_text="sparsity").click()
    slider = page.locator("#sparsity input[type=range]")
    slider.wait_for()
    settle(page)
    before, box = shown(page), slider.bounding_box()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2, steps=5)
    wait_for_change(page, before)  # while the button is down
    page.mouse.up()
    settle(page)
    sparsity = float(re.search(r"sparsity\s+([\d.]+)", page.inner_text("#facts"))[1])
    assert sparsity == pytest.approx(0.3, abs=0.05)
    assert f"sparsity={sparsity}" in page.input_value("#python textarea")


def test_the_keyboard_moves_a_slider_and_reaches_every_control(page):
    slider = page.locator("#min_area input[type=range]")
    slider.focus()
    before = shown(page, "other")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    wait_for_change(page, before, "other")
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(50):
        page.keyboard.press("Tab")
        parents = "[...document.querySelectorAll(':focus')].flatMap(e => { const ids = [];"
        parents += " for (; e; e = e.parentElement) if (e.id) ids.push(e.id); return ids })"
        reached.update(page.evaluate(parents))
    expected = {"sample", "upload", "corruption", "severity", "choice", "sparsity", "preset", "nu"}
    expected |= {"delta", "output", "min_area", "attack", "python", "shell", "prepare", "strip"}
    assert expected - reached == set()


def upload(page, path):
    if page.locator("#upload button[aria-label*=lear]").count():
        page.locator("#upload button[aria-label*=lear]").first.click()
        settle(page)
    page.set_input_files("#upload input[type=file]", path)


def test_a_file_is_smoothed_and_its_result_downloaded(page, tmp_path, photographs, monkeypatch):
    path = tmp_path / "my photo.png"
    Image.fromarray(np.hstack(photographs[:3])).save(path)
    before = shown(page)
    upload(page, path)
    wait_for_change(page, before)
    settle(page)
    assert "96 x 32" in page.inner_text("#facts")
    assert "decode_image('my photo.png'" in page.input_value("#python textarea")

    page.click("#prepare")
    page.wait_for_selector("#links a")
    with page.expect_download() as download:
        page.locator("#links a", has_text="result.png").click()
    assert download.value.suggested_filename == "result.png"
    downloaded = np.asarray(Image.open(download.value.path()))
    names = {}
    monkeypatch.chdir(tmp_path)  # the lines read the file by its name
    exec(page.input_value("#python textarea"), names)
    np.testing.assert_array_equal(downloaded, names["result"])


def test_bad_files_are_refused_in_words(page, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.new("1", (2000, 1500)).save(tmp_path / "wide.png")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (700, 700, 3), np.uint8)).save(tmp_path / "heavy.png")
    for name, words in (
        ("text.png", "text.png must be a picture"),
        ("wide.png", "at most 2 megapixels, got 3.0"),
        ("heavy.png", "maximum allowed size"),
    ):
        upload(page, tmp_path / name)
        page.get_by_text(words).first.wait_for(timeout=20_000)
        assert str(tmp_path) not in page.inner_text("body")
        assert "/uploads" not in page.inner_text("body")


def test_the_classifier_is_asked_and_attacked(page):
    page.click("#attack")
    page.wait_for_function("document.querySelectorAll('#answers table').length === 4")
    titles = page.locator("#answers caption").all_inner_texts()
    assert [title.endswith("attacked") for title in titles] == [False, False, True, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_on_wide_and_narrow_screens(chromium, server, weak_contrasts, scheme):
    page = load(chromium, server, 375, 800, scheme)
    for width in (375, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert weak_contrasts(page) == []
    page.set_viewport_size({"width": 375, "height": 800})
    page.locator("#delta").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert page.locator("#result img").bounding_box()["y"] >= 0  # seen while a slider is moved
    page.close()


def test_no_file_of_the_server_can_be_read(server, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("L", (16, 16)).save(secret)
    for path in (str(secret), "/etc/passwd", str(Path.cwd() / "README.md"), "network.py"):
        with pytest.raises(urllib.error.HTTPError) as error:
            server.open(f"/gradio_api/file={path}")
        assert error.value.code in (403, 404)
        error.value.close()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert server.call("moment", *values(upload=file))[0] == "error"


def test_a_thousand_requests_are_answered_in_bounded_memory(server, photograph):
    expected = {}
    explorer = Explorer()
    for sparsity in (0.2, 0.5, 0.9):
        settings = Settings(corruption="none", choice="sparsity", sparsity=sparsity)
        expected[sparsity] = explorer.answer(photograph, settings).facts["regions"]
    file = {"path": server.send(photograph.path), "meta": {"_type": "gradio.FileData"}}
    assert server.call("path", *values(upload=file))[0] == "complete"
    before = server.megabytes

    def ask(number):
        sparsity = (0.2, 0.5, 0.9)[number % 3]
        kind, data = server.call("moment", *values(upload=file, sparsity=sparsity))
        return kind == "complete" and f"<dd>{expected[sparsity]}</dd>" in data[0]

    with ThreadPoolExecutor(20) as pool:
        right = list(pool.map(ask, range(1000)))
    assert right == [True] * 1000
    assert server.megabytes - before < 150


def picture_of(html):
    """Return the picture in a part of the page."""
    content = re.search(r"base64,([^\"]+)", html)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_the_server_shows_what_the_explorer_answers(server):
    kind, data = server.call("moment", *values("camera", choice="noise", noise=0.2))
    assert kind == "complete"
    settings = Settings(corruption="none", choice="noise", noise=0.2)
    answer = Explorer().answer(Source("camera"), settings)
    error = abs(picture_of(data[1]).astype(int) - answer.result)
    assert error.mean() < 1.5  # JPEG
    assert data[4] == answer.python
