// The claims page: shows the claims that its three lists and its words ask for. Without scripts all are shown.
document.querySelectorAll("form.claims").forEach(form => {
  const rows = [...document.querySelectorAll("table.claims tbody tr")];
  const show = () => {
    const asked = Object.fromEntries(new FormData(form));
    const words = asked.words.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach(row => {
      const text = row.textContent.toLowerCase();
      row.hidden =
        ["paper", "verdict", "size"].some(key => asked[key] && row.dataset[key] !== asked[key]) ||
        words.some(word => !text.includes(word));
    });
    form.querySelector("output").value = `${rows.filter(row => !row.hidden).length} of ${rows.length} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  show();
});
