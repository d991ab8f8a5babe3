"""report.html: of a whole run, of one that died, and in a real browser."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hymenoptera.errors import RequestError
from hymenoptera.results.report import write_report

SCRIPT = """
<script>
const pick = (name, value) => {
  const control = document.querySelector(name);
  control.value = value;
  control.dispatchEvent(new Event("input"));
};
const rows = () => [...document.querySelectorAll("#pictures tbody tr")];
const loss = [...document.querySelectorAll("#pictures th")].find((h) => h.textContent === "loss");
loss.click();
const losses = rows().map((row) => Number(row.cells[5].textContent));
loss.click();
pick("#by-label", "birch");
const found = {
  losses, upside: rows().map((row) => Number(row.cells[5].textContent)),
  shown: rows().filter((row) => !row.hidden).map((row) => row.dataset.label),
  count: document.querySelector("#count").textContent,
  broken: [...document.images].filter((image) => image.complete && !image.naturalWidth).length,
  wide: document.documentElement.scrollWidth > window.innerWidth,
};
parent.postMessage(JSON.stringify(found), "*");
</script>
"""
FRAME = """
<iframe src="page.html" style="width: {width_px}px; height: 900px"></iframe><pre id="found"></pre>
<script>
onmessage = (message) => {{ document.querySelector("#found").textContent = message.data; }};
</script>
"""


def test_a_run_writes_its_report(finished_run: Path) -> None:
    page = (finished_run / "report.html").read_text()
    best = json.loads((finished_run / "summary.json").read_text())["best"]
    assert f"{best['correct']} of {best['count']}" in page
    assert page.count("<tr data-name=") == 12
    assert page.count("<svg") == 5
    for outside in ("src='http", 'src="http', "@import", "url(http", '<link rel="stylesheet'):
        assert outside not in page


def test_a_run_that_died_has_a_report_of_what_there_is(tmp_path: Path, finished_run: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    for name in ("summary.json", "predictions.csv", "report.html"):
        (run / name).unlink()
    page = write_report(run).read_text()
    assert "unfinished" in page
    assert page.count("<svg") == 2  # its curves
    assert "Training pictures are augmented" in page
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("views: null", "views: 0"))
    assert "Training pictures are augmented" not in write_report(run).read_text()
    (run / "metrics.csv").unlink()
    assert "before its first epoch" in write_report(run).read_text()
    (run / "summary.json").write_text('{"status": "failed", "error": "<b>no</b> & never"}')
    assert "&lt;b&gt;no&lt;/b&gt; &amp; never" in write_report(run).read_text()
    with pytest.raises(RequestError, match="not a run folder"):
        write_report(tmp_path)


@pytest.mark.parametrize("width_px", [400, 1600])
def test_the_table_sorts_and_filters_in_a_browser(
    tmp_path: Path, finished_run: Path, width_px: int
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    text = (finished_run / "report.html").read_text()
    (tmp_path / "page.html").write_text(text.replace("</body>", SCRIPT + "</body>"))
    frame = tmp_path / "frame.html"  # the window itself cannot be as narrow as a phone
    frame.write_text(FRAME.format(width_px=width_px))
    ended = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1700,1000"),
            *("--virtual-time-budget=10000", "--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(ended.stdout.split('<pre id="found">')[1].split("</pre>")[0])
    assert found["losses"] == sorted(found["losses"], reverse=True)
    assert found["upside"] == found["losses"][::-1]
    assert found["shown"] == ["birch"] * 4
    assert found["count"] == "4 of 12"
    assert found["broken"] == 0
    assert not found["wide"]
