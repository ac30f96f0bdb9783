// The claims page: shows the claims that its lists and its words ask for. Without scripts all are shown.
document.querySelectorAll("form.claims").forEach(form => {
  const rows = [...document.querySelectorAll("table.claims tbody tr")];
  const show = () => {
    const lists = [...form.querySelectorAll("select")].filter(list => list.value);
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach(row => {
      const text = row.textContent.toLowerCase();
      row.hidden =
        lists.some(list => row.dataset[list.name] !== list.value) ||
        words.some(word => !text.includes(word));
    });
    form.querySelector("output").value = `${rows.filter(row => !row.hidden).length} of ${rows.length} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  show();
});
