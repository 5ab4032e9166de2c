"""The page is one file of valid HTML that asks for nothing from elsewhere."""

import re
import shutil

import pytest

from zoo.registry import find_config
from zoo.report import collect, write_page

html5lib = pytest.importorskip("html5lib")

HTML = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture
def page(made_up, tmp_path):
    made_up().write(tmp_path / "runs/a/benchmark.json")
    made_up("ppo/Acrobot-v1", (-80.0, -70.0), -100.0).write(tmp_path / "runs/b/benchmark.json")
    found = [(path, result) for path, result in collect(tmp_path / "runs") if "runs/" in path]
    return write_page(found, tmp_path / "site")


def test_the_page_is_valid_html(page):
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=True)
    document = parser.parse(page.read_text())
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    names = [cell.text or "".join(cell.itertext()) for cell in document.find(f".//{HTML}tbody").iter(f"{HTML}td")]
    assert names[0] == "ppo/CartPole-v1"
    text = " ".join(document.itertext())
    for words in ("zoo bench ppo/CartPole-v1 --seeds 2", "485.0 ± 21.2", "500.0 ± 1.5", "torch 2.13.0", "num_envs: 8"):
        assert words in text
    assert len(document.findall(".//{http://www.w3.org/2000/svg}svg")) == 2
    links = [link.get("href") for link in document.iter(f"{HTML}a")]
    ids = [element.get("id") for element in document.iter() if element.get("id")]
    assert links == ["#result-0", "#result-1"]
    assert all(link[1:] in ids for link in links)


def test_nothing_is_loaded_from_elsewhere(page):
    text = page.read_text()
    assert not re.search(r"<(?:script|img|iframe|object|embed)\b", text)
    assert not re.search(r"""(?:src|href)=["'](?!#|data:,)""", text)
    assert not re.search(r"url\((?!#)|@import", text)


def test_what_stands_in_files_is_shown_as_text(made_up, tmp_path):
    result = made_up(command="<script>alert(1)</script>")
    text = write_page([("x", result)], tmp_path).read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text


def test_what_else_was_tried_stands_beside_a_result(made_up, tmp_path):
    text = write_page([("x", made_up("a2c/Pendulum-v1"))], tmp_path).read_text()
    shown = html5lib.HTMLParser(strict=True, namespaceHTMLElements=True).parse(text).iter(f"{HTML}li")
    assert ["".join(item.itertext()) for item in shown] == find_config("a2c/Pendulum-v1").tried


def test_without_results_the_page_says_so(tmp_path):
    text = write_page([], tmp_path).read_text()
    html5lib.HTMLParser(strict=True).parse(text)
    assert "No benchmark is finished yet" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_shows_it_without_complaint(page):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1200, "height": 800})
        complaints, requests = [], []
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.on("request", lambda request: requests.append(request.url))
        view.goto(page.as_uri())
        assert view.locator("#results tbody tr").count() == 2
        boxes = [svg.bounding_box() for svg in view.locator("svg").all()]
        assert [box["width"] > 300 and box["height"] > 150 for box in boxes] == [True, True]
        width = view.evaluate("document.documentElement.scrollWidth")
        view.screenshot(path=page.parent / "page.png", full_page=True)
        browser.close()
    assert complaints == []
    assert requests == [page.as_uri()]
    assert width <= 1200
