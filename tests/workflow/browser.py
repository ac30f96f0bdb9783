"""Open Snakemake's HTML report in a real browser, as a reader does: a click for each figure's picture, one for its caption."""

import re
import subprocess
from pathlib import Path

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


def walk(browser: str, report: Path, folder: Path) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Return the width of each figure's picture and the text beside it, by exhibit, and what else the console says."""
    before, end, after = report.read_text(encoding="utf-8").rpartition("</body>")
    page = folder / "walked.html"
    page.write_text(f"{before}<script>{WALK}</script>{end}{after}", encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=120000"]
    command = [browser, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = re.findall(r'CONSOLE:\d+\] "(.*?)", source: ', done.stderr, flags=re.DOTALL)
    found = [re.fullmatch(r"FIGURE (\S+) WIDTH (\d+) TEXT (.*) END", line, flags=re.DOTALL) for line in said]
    figures = {match[1]: (int(match[2]), match[3]) for match in found if match}
    others = [line for line, match in zip(said, found, strict=True) if not match and KNOWN not in line]
    return figures, others
