"""Every page of the site in a real browser, at desktop and phone width: a silent console, nothing too wide, every picture there."""

import http.server
import json
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.workflow import browser

ROOT = Path(__file__).parents[2]
CLAIMS = json.loads((ROOT / "results/reference/claims.json").read_text(encoding="utf-8"))
WIDTHS = (1280, 390)
# Opens one page after another in a frame, which stands for a window of each width, and writes down what does not fit.
WALK = """<!doctype html><meta charset="utf-8"><body><script type="module">
const frame = document.createElement("iframe"), seen = { pages: 0, loaded: [], faults: [], claims: [] };
frame.height = 900;
document.body.append(frame);
const settled = () => new Promise(done => setTimeout(done, 200));
for (const page of PAGES) {
  frame.width = WIDTHS[0];
  await new Promise(done => { frame.onload = done; frame.src = page; });
  const inside = frame.contentDocument;
  for (const width of WIDTHS) {
    frame.width = width;
    const root = inside.documentElement;
    await settled();
    if (root.scrollWidth > root.clientWidth) seen.faults.push(`${page} at ${width}: ${root.scrollWidth} wide`);
  }
  inside.querySelectorAll("img").forEach(image => {
    if (!image.complete || !image.naturalWidth) seen.faults.push(`${page}: ${image.src} is not shown`);
  });
  seen.loaded.push(...frame.contentWindow.performance.getEntriesByType("resource").map(entry => new URL(entry.name).host));
  const form = inside.querySelector("form.claims");
  for (const [list, value] of form ? CHOICES : []) {
    form.elements[list].value = value;
    form.elements[list].dispatchEvent(new Event("input", { bubbles: true }));
    const shown = [...inside.querySelectorAll("table.claims tbody tr")].filter(row => row.getClientRects().length);
    seen.claims.push([shown.length, form.querySelector("output").value]);
  }
  seen.pages++;
}
document.body.innerHTML = `<pre>${JSON.stringify(seen)}</pre>`;
</script>"""
CHOICES = [
    ["verdict", "reproduced"],
    ["paper", "P"],
    ["verdict", ""],
    ["paper", ""],
    ["about", "depth"],
    ["about", ""],
    ["words", "Adam cifar"],
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def address(site):
    """Where the site is served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(browser.BROWSER is None, reason="needs chromium")
def test_every_page_fits_and_loads_nothing_from_elsewhere(site, address, tmp_path):
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if path.name != "404.html")
    walk = WALK.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS)).replace("CHOICES", json.dumps(CHOICES))
    (site / "walk.html").write_text(walk, encoding="utf-8")
    document, said = browser.opened(f"{address}/walk.html", tmp_path)
    (site / "walk.html").unlink()
    seen = json.loads(document.partition("<pre>")[2].partition("</pre>")[0].replace("&gt;", ">").replace("&amp;", "&"))
    assert said == [] and seen["faults"] == []
    assert seen["pages"] == len(pages) > 25
    assert {f"http://{host}" for host in seen["loaded"]} == {address}
    reproduced = [row for row in CLAIMS if row["verdict"] == "reproduced"]
    from_p = [row for row in reproduced if row["place"].startswith("P")]
    every_p = [row for row in CLAIMS if row["place"].startswith("P")]
    deep = [row for row in CLAIMS if row["question"] == "depth"]
    for (shown, words), rows in zip(seen["claims"], (reproduced, from_p, every_p, CLAIMS, deep, CLAIMS), strict=False):
        assert (shown, words) == (len(rows), f"{len(rows)} of {len(CLAIMS)} claims")
    assert 0 < seen["claims"][6][0] < len(CLAIMS)


@pytest.mark.skipif(browser.BROWSER is None, reason="needs chromium")
def test_the_site_opens_from_disk_and_its_search_finds(site, tmp_path):
    document, said = browser.opened(f"{(site / 'index.html').as_uri()}?q=proximal", tmp_path)
    assert said == []
    assert "md-search-result__link" in document and "glossary.html" in document.partition("md-search-result__list")[2]
