"""results.html as people see it: curves, pictures, links, and what a browser makes of it."""

import json
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from machinery import results
from machinery.experiments import Experiment
from machinery.results_curves import mean_and_deviation
from machinery.results_table import Row
from parameters import Parameters
from test_results import write_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Sorts by the third column, upwards, shows the rows with two words, and says what is then there.
TRY = """<script>
  const button = document.querySelectorAll("th button")[2];
  button.click(); button.click();
  const sorted = [...document.querySelectorAll("tbody tr")].map(row => row.cells[2].textContent);
  const input = document.querySelector("input");
  input.value = "WIDTH 64"; input.dispatchEvent(new Event("input"));
  const shown = [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden).length;
  const wide = document.documentElement.scrollWidth;
  document.body.innerHTML = "<pre>" + JSON.stringify({sorted, shown, wide, inner: innerWidth});
</script>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page of two experiments with three seeds, one alone, one that failed, and a picture."""
    for seed in range(3):
        for name, gain in (("wide", 0.1), ("narrow", 0.0)):
            values = [0.5 + gain + seed / 100, 0.7 + gain - seed / 50]
            width = 64 if gain else 8
            write_run(tmp_path / name / f"seed-{seed}", values, seed=seed, width=width)
    write_run(tmp_path / "alone & <odd>", [0.4, 0.6, 0.65], width=16)
    write_run(tmp_path / "failed", [0.4], outcome="diverged", width=32)
    run = tmp_path / "narrow" / "seed-1"
    picture = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(picture).save(run / "worst_test.png")
    (run / "broken.png").write_text("no picture")
    written = ["metrics_test.json", "worst_test.png", "broken.png", "gone.png", "../x.png"]
    (run / "evaluations.json").write_text(json.dumps({"files": written}))
    results.synthesize(tmp_path, None, Parameters)
    return tmp_path / "results.html"


def test_the_page_holds_all_it_needs(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert "<link" not in text
    assert not re.search(r"<script src", text)
    assert text.count("data:image/jpeg;base64,") == 1
    assert 'href="narrow/seed-1/worst_test.png"' in text
    assert 'href="alone%20%26%20%3Codd%3E/">alone &amp; &lt;odd&gt;</a>' in text
    assert text.count('href="wide/seed-') == 3
    assert re.search(r"<li>.*wide \(3 seeds\)</span><span>0\.7800 ± 0\.0200", text)
    for link in re.findall(r'href="([\w/-]+)"', text):
        assert (page.parent / link).exists()


def test_curves_are_means_over_seeds() -> None:
    """Of the epochs that most seeds have: one that was stopped early makes no jump."""
    seeds = ([0.1, 0.2, 0.9], [0.3, 0.6], [0.2, 0.1])
    experiments = [
        Experiment(
            f"seed-{i}",
            seed=str(i),
            rows=[{"epoch": j, "val_x": v} for j, v in enumerate(values, 1)],
        )
        for i, values in enumerate(seeds)
    ]
    epochs, means, deviations = mean_and_deviation(Row(experiments, {}), "val_x")
    assert epochs == [1, 2]
    assert means == pytest.approx([0.2, 0.3])
    assert deviations == pytest.approx([0.1, statistics.stdev([0.2, 0.6, 0.1])])
    assert mean_and_deviation(Row(experiments[:1], {}), "val_x")[2] == [0, 0, 0]


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
    return found


def look(browser: str, page: Path, width: int, *words: str) -> str:
    """Open a page in a browser without a window; return what it prints."""
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    command = [browser, *options, f"--window-size={width},1400", *words, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.deep
@pytest.mark.parametrize("width", [500, 1400])
def test_a_browser_sorts_and_filters(width: int, page: Path, browser: str) -> None:
    tried = page.with_name("tried.html")
    tried.write_text(page.read_text().replace("</html>", f"{TRY}</html>"))
    found = json.loads(
        re.findall(r"<pre>(.*?)</pre>", look(browser, tried, width, "--dump-dom"))[0]
    )
    assert [text[:6] for text in found["sorted"]] == ["0.4000", "0.6500", "0.6800", "0.7800"]
    assert found["shown"] == 1
    assert found["wide"] <= found["inner"] == width  # Only the table scrolls sideways.


@pytest.mark.deep
@pytest.mark.parametrize("width", [500, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_screenshots(width: int, dark: bool, page: Path, browser: str, tmp_path: Path) -> None:
    """They lie in pytest's temporary folder, to be looked at."""
    path = tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    look(browser, page, width, scheme, f"--screenshot={path}")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"), np.float64)
    assert pixels.shape[1] == width
    assert (np.median(pixels) < 64) == dark
    background = np.median(pixels)
    drawn = np.abs(pixels - background) > 40
    lines = drawn.any(axis=1).mean()
    assert lines > 0.4  # The page is not empty.
