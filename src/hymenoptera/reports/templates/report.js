// Sorts the table of images by any column, and filters it by class, outcome and name.
const table = document.querySelector("#images");
if (table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function sort(head) {
    const column = heads.indexOf(head), numeric = head.dataset.sort === "number";
    const down = head.getAttribute("aria-sort") === (numeric ? "none" : "ascending");
    heads.forEach((other) => other.dataset.sort && other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
    const rows = [...body.rows].sort((a, b) => order(value(a, column), value(b, column)));
    body.append(...(down ? rows.reverse() : rows));
  }

  for (const head of heads.filter((cell) => cell.dataset.sort)) {
    head.addEventListener("click", () => sort(head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head); }
    });
  }

  const name = document.querySelector("#by-name"), label = document.querySelector("#by-label");
  const outcome = document.querySelector("#by-outcome"), count = document.querySelector("#count");
  function filter() {
    const wanted = name.value.toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !(row.dataset.name.toLowerCase().includes(wanted)
        && (!label.value || label.value === row.dataset.label)
        && (!outcome.value || outcome.value === row.dataset.outcome));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${body.rows.length}`;
  }
  for (const control of [name, label, outcome]) control.addEventListener("input", filter);
  filter();
}
