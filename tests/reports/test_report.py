"""report.html and the other pages: of a whole run, of one that died, and in a real browser."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymenoptera.errors import ConfigError
from hymenoptera.reports.gallery import Gallery
from hymenoptera.reports.images import grad_cam_file
from hymenoptera.reports.record import Summary, accuracy_summary, write_predictions, write_summary
from hymenoptera.reports.report import write_report
from hymenoptera.reports.sweep_files import show_sweep

Make = Callable[..., Path]
OUTSIDE = ("src='http", 'src="http', "@import", "url(http", '<link rel="stylesheet')


def write_config(run: Path, views: str = "null") -> None:
    (run / ".hydra").mkdir(exist_ok=True)
    (run / ".hydra" / "config.yaml").write_text(f"transfer:\n  views: {views}\nkey: <value>\n")


def test_the_page_holds_all_that_a_run_left(make_run: Make) -> None:
    labels, probabilities = [0, 1, 1], [(0.9, 0.1), (0.2, 0.8), (0.7, 0.3)]
    test = {"epoch": 2, "checkpoint": "x", **accuracy_summary(labels, probabilities)}
    run = make_run(images=True, test=test)
    names = [f"test/{i}.jpg" for i in range(3)]
    write_predictions(run / "test_predictions.csv", names, labels, probabilities, ["ants", "bees"])
    write_config(run)
    page = write_report(run).read_text()
    for text in (
        *("90.0 %", "36 of 40", "76.9 to 96.0 %", "Training images are augmented"),
        *("66.7 %</b> of the held-out test images correct", "On the held-out test images"),
        *("python train.py", "0123456789ab, with changes", "abab", "&lt;value&gt;"),
        *("30 to train on, 20 to validate", f"hymenoptera predict {run} IMAGES"),
        f"load_from_checkpoint(&#39;{run}/checkpoints/best.ckpt&#39;)",
    ):
        assert text in page
    assert page.count("<tr data-name=") == 40
    assert page.count("<svg") == 8  # two curves, and three for each split
    assert page.count("<img") == 44  # of 4 mistakes, twice
    assert not any(outside in page for outside in OUTSIDE)
    write_config(run, views="0")
    assert "Training images are augmented" not in write_report(run).read_text()


def test_mistakes_are_shown_with_their_heat_maps(make_run: Make) -> None:
    run = make_run()
    path = grad_cam_file(run, "val/bees/039.jpg")
    path.parent.mkdir(parents=True)
    Image.new("RGB", (20, 10), "red").save(path)
    page = write_report(run).read_text()
    assert "Grad-CAM heat map" in page
    assert page.count("<img") == 1  # the images themselves are gone
    for strange in ("/etc/x.png", "../../x.png"):
        assert run in grad_cam_file(run, strange).parents


def test_a_run_that_died_has_a_report_of_what_there_is(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    write_config(run)
    for name in ("summary.json", "predictions.csv", "checkpoints/best.ckpt"):
        (run / name).unlink()
    page = write_report(run).read_text()
    assert "unfinished" in page and "hymenoptera predict" not in page
    assert page.count("<svg") == 2  # its curves
    (run / "metrics.csv").unlink()
    assert "before its first epoch" in write_report(run).read_text()
    write_summary(run, Summary("failed", error="<b>no</b> & never"))
    assert "&lt;b&gt;no&lt;/b&gt; &amp; never" in write_report(run).read_text()
    best = {"epoch": 2, "step": 8, "checkpoint": "top.ckpt", "monitor": "val/f1", "score": 0.53}
    write_summary(run, Summary("completed", best=best, epochs=3))  # of a user's own model
    page = write_report(run).read_text()
    assert "val/f1" in page and "0.53" in page
    with pytest.raises(ConfigError, match="not a run folder"):
        write_report(tmp_path)


def test_names_are_shown_as_they_are(make_run: Make) -> None:
    names = [f"val/<script>alert({i})</script>/\"'&.jpg" for i in range(40)]
    page = write_report(make_run(names=names)).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(3)&lt;/script&gt;" in page


def test_a_gallery_is_written_as_images_come(tmp_path: Path) -> None:
    path = tmp_path / "gallery.html"
    with Gallery(path, "Predictions of <resnet18>", explained=True) as gallery:
        image = Image.new("RGB", (30, 30), "red")
        heat_map = np.zeros((3, 3), dtype=np.float32)
        gallery.add("far/a/<x>.jpg", image, {"ants": 0.75, "bees": 0.25, "c": 0.0}, heat_map)
        gallery.add("bad.jpg", None, {}, error="truncated <file>")
        gallery.add("\udcff.jpg", image, {"ants": 1.0})  # a name that is no text
        assert not path.exists()
    page = path.read_text()
    assert page.count("<figure>") == 3 and page.count("<img") == 2
    for text in ("ants 75.0\xa0%", "bees 25.0\xa0%", ">a/&lt;x&gt;.jpg", "truncated &lt;file&gt;"):
        assert text in page
    assert "&lt;resnet18&gt;" in page and page.rstrip().endswith("</html>")
    with pytest.raises(RuntimeError), Gallery(tmp_path / "other.html", "x") as gallery:
        raise RuntimeError
    assert not (tmp_path / "other.html").exists()


def in_browser(folder: Path, page: str, script: str) -> dict[str, object]:
    """What a script says of a page as wide as a phone; skipped without Debian's chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    ending = "wide: document.documentElement.scrollWidth > window.innerWidth"
    script = f"<script>{{ {script}, {ending}}}), '*'); }}</script></body>"
    (folder / "page.html").write_text(page.replace("</body>", script))
    frame = folder / "frame.html"  # the window itself cannot be as narrow as a phone
    frame.write_text(
        '<iframe src="page.html" style="width: 400px; height: 900px"></iframe>'
        '<pre id="result"></pre><script>onmessage = (message) => {'
        'document.querySelector("#result").textContent = message.data; };</script>'
    )
    ended = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--window-size=1700,1000"),
            *("--virtual-time-budget=10000", "--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(ended.stdout.split('<pre id="result">')[1].split("</pre>")[0])


SCRIPT = """
const pick = (name, value) => {
  const control = document.querySelector(name);
  control.value = value;
  control.dispatchEvent(new Event("input"));
};
const rows = () => [...document.querySelectorAll("#images tbody tr")];
[...document.querySelectorAll("#images th")].find((h) => h.textContent === "loss").click();
pick("#by-label", "bees");
pick("#by-outcome", "wrong");
parent.postMessage(JSON.stringify({
  losses: rows().map((row) => Number(row.cells[5].textContent)),
  shown: rows().filter((row) => !row.hidden).map((row) => row.dataset.label),
  count: document.querySelector("#count").textContent,
  broken: [...document.images].filter((image) => image.complete && !image.naturalWidth).length
"""
SWEEP_SCRIPT = """
const rows = () => [...document.querySelectorAll("#table tbody tr")];
const cells = () => rows().map((row) => row.cells[0].textContent);
const sorted = cells();
document.querySelector("#table th").click();
rows()[0].dispatchEvent(new MouseEvent("mouseenter"));
parent.postMessage(JSON.stringify({
  sorted, other: cells(), pointed: document.querySelector(".pointed").textContent,
  rings: document.querySelectorAll("#parameters .mark > circle[r='6']").length,
  lines: document.querySelectorAll("#curves polyline").length,
  texts: [...document.querySelectorAll("#parameters svg text")].map((t) => t.textContent)
"""


def test_the_table_sorts_and_filters_in_a_browser(tmp_path: Path, make_run: Make) -> None:
    found = in_browser(tmp_path, write_report(make_run(images=True)).read_text(), SCRIPT)
    assert found["losses"] == sorted(found["losses"], reverse=True)
    assert (found["shown"], found["count"]) == (["bees"] * 2, "2 of 40")
    assert (found["broken"], found["wide"]) == (0, False)


def test_a_sweep_is_drawn_in_a_browser(tmp_path: Path, make_sweep: Make) -> None:
    jobs = [([f"optimizer.lr={lr}"], share) for lr, share in (("1e-4", 0.9), ("1e-3", 0.95))]
    sweep = make_sweep([*jobs, (["optimizer.lr=1e-2"], "the loss </script> is NaN")], count=200)
    show_sweep(sweep)
    found = in_browser(tmp_path, (sweep / "sweep.html").read_text(), SWEEP_SCRIPT)
    assert found["sorted"] == ["1e-3", "1e-4", "1e-2"]
    assert found["other"] == ["1e-4", "1e-3", "1e-2"]
    assert (found["rings"], found["lines"]) == (2, 2)
    assert "0 %" not in found["texts"] and "1e-3" in found["texts"]  # the axis fits the values
    assert found["pointed"].startswith("lr 1e-4: 90.0 %")
    assert not found["wide"]
