"""Open pages in a real browser: what they have become, and what its console says; and Snakemake's report, as a reader opens it."""

import re
import shutil
import subprocess
from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
OPTIONS += ("--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=120000")

# Snakemake's own page says so on each load
KNOWN = "cdn.tailwindcss.com should not be used in production"
WALK = """
(async () => {
  const settled = () => new Promise(done => setTimeout(done, 300));
  const click = async element => { element.click(); await settled(); };
  const rows = async () => {
    await click([...document.querySelectorAll("a")].find(link => link.textContent.trim() === "Figures"));
    return [...document.querySelectorAll("tbody tr")];
  };
  await settled();
  const count = (await rows()).length;
  for (let i = 0; i < count; i++) {
    const name = (await rows())[i].cells[0].textContent;
    await click((await rows())[i].querySelector("a[iconname=eye]"));
    const widths = [...document.querySelectorAll("img")].map(image => image.naturalWidth);
    await click((await rows())[i].querySelector("a[iconname=information-circle]"));
    console.log(`FIGURE ${name} WIDTH ${widths.at(-1)} TEXT ${document.querySelector("#app").innerText.replaceAll("\\n", " ")} END`);
  }
  console.log(`SEEN ${count}`);
})();
"""


def opened(address: str, folder: Path) -> tuple[str, list[str]]:
    """Return a page's document after its scripts have run, and the lines of the console; the browser's files go into a folder."""
    assert BROWSER, "needs chromium"
    command = [BROWSER, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout, re.findall(r'CONSOLE:\d+\] "(.*?)", source: ', done.stderr, flags=re.DOTALL)


def walk(report: Path, folder: Path) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Return the width of each figure's picture and the text beside it, by exhibit, and what else the console says."""
    before, end, after = report.read_text(encoding="utf-8").rpartition("</body>")
    page = folder / "walked.html"
    page.write_text(f"{before}<script>{WALK}</script>{end}{after}", encoding="utf-8")
    _, said = opened(page.as_uri(), folder)
    found = [re.fullmatch(r"FIGURE (\S+) WIDTH (\d+) TEXT (.*) END", line, flags=re.DOTALL) for line in said]
    figures = {match[1]: (int(match[2]), match[3]) for match in found if match}
    others = [line for line, match in zip(said, found, strict=True) if not match and KNOWN not in line]
    return figures, others
