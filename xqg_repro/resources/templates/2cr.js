"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = document.getElementById("scores");
  const status = document.getElementById("status");
  const toolbar = document.querySelector(".toolbar");
  const headers = all("thead th", table);
  const groups = [...table.tBodies];  // in the order of the file
  let sorting = { column: null, direction: null };

  document.documentElement.classList.add("js");
  all(".toolbar, .copy").forEach((element) => { element.hidden = false; });
  all("details.two").forEach((details) => { details.open = false; });

  const measure = () => toolbar.querySelector("[name=measure]:checked").value;

  // the measured score, or the title in the first column; null where nothing was measured
  function key(group, column) {
    if (column === "0") return group.querySelector(".title").textContent;
    const cell = group.querySelector(`[data-column="${column}"] [data-measure="${measure()}"] [data-value]`);
    return cell && Number(cell.dataset.value);
  }

  function sort() {
    const { column, direction } = sorting;
    const sign = direction === "descending" ? -1 : 1;
    const order = (a, b) => {
      const [one, other] = [key(a, column), key(b, column)];
      if (one === null || other === null) return (one === null) - (other === null);  // last in either direction
      return sign * (column === "0" ? one.localeCompare(other, "en") : one - other);
    };
    table.append(...(column === null ? groups : [...groups].sort(order)));
    headers.forEach((header) => {
      if (header.dataset.column === column) header.setAttribute("aria-sort", direction);
      else header.removeAttribute("aria-sort");
    });
  }

  // first click, second click, and back to the order of the file
  headers.forEach((header) => {
    const { column } = header.dataset;
    const directions = column === "0" ? ["ascending", "descending", null] : ["descending", "ascending", null];
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => {
      const step = sorting.column === column ? directions.indexOf(sorting.direction) + 1 : 0;
      sorting = directions[step] ? { column, direction: directions[step] } : { column: null, direction: null };
      sort();
    });
    header.append(button);
  });

  function show() {
    all("[data-measure]", table).forEach((element) => { element.hidden = element.dataset.measure !== measure(); });
    const off = new Set(all("[name=language]:not(:checked)", toolbar).map((box) => box.value));
    all("[data-column]", table).forEach((cell) => { cell.hidden = off.has(cell.dataset.column); });
    all(".commands > td", table).forEach((cell) => { cell.colSpan = headers.length - off.size; });
    sort();
  }
  toolbar.addEventListener("change", show);
  toolbar.addEventListener("submit", (event) => event.preventDefault());
  show();

  async function copy(button) {
    const code = button.closest(".command").querySelector("code");
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      window.getSelection().selectAllChildren(code);
      said = "Selected: copy it with Ctrl+C";
    }
    status.textContent = "";
    setTimeout(() => { status.textContent = said; }, 50);  // the same words again are read again
    button.textContent = said.split(":")[0];
    clearTimeout(button.timer);
    button.timer = setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }
  all(".copy").forEach((button) => button.addEventListener("click", () => copy(button)));
})();
