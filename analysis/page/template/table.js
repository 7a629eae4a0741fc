"use strict";
// Everything shown comes from the JSON in #data and goes into the page as text nodes, never as markup.
// Rows are objects made once; only the page of a table that is looked at becomes elements.

const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 50;

function add(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const h = (tag, attributes = {}, ...children) => add(document.createElement(tag), attributes, children);

const known = (value) => value !== null && value !== undefined && value !== "";
const count = (value) => (known(value) ? value.toLocaleString("en") : "–");
const percent = (value, digits = 1) => (known(value) ? (100 * value).toFixed(digits) : "–");

// One table: a filter box, a choice for each column that says so, headers that sort, pages of 50 rows.
// Columns: {name, text(row), value(row) to sort by, number, choose, minor, cell(row) for its own element}.
class Table {
  constructor(place, name, rows, columns, order = null) {
    this.rows = rows;
    this.columns = columns;
    this.order = order;
    this.page = 0;
    this.words = "";
    this.chosen = new Map();
    this.texts = null;
    this.body = h("tbody");
    this.said = h("span", { role: "status" });
    this.back = h("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.next = h("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    this.heads = columns.map((column, index) => {
      const button = h("button", { type: "button", title: column.title || null, onclick: () => this.sort(index) }, column.name);
      return h("th", { scope: "col", class: this.classes(column, index) }, button);
    });
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...this.heads)), this.body);
    place.replaceChildren(
      this.tools(name),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table),
      h("div", { class: "pager" }, this.back, this.next, this.said),
    );
    this.update();
  }

  tools(name) {
    const type = (event) => { this.words = event.target.value; this.page = 0; this.update(); };
    const box = h("input", { type: "search", placeholder: "words, e.g. rql cube", autocomplete: "off", oninput: type });
    const tools = h("div", { class: "tools" }, h("label", {}, `Filter ${name}`, box));
    for (const column of this.columns.filter((column) => column.choose)) {
      const values = [...new Set(this.rows.map(column.text))];
      if (values.length < 2) continue;
      const pick = (event) => {
        if (event.target.value === "") this.chosen.delete(column);
        else this.chosen.set(column, values[Number(event.target.value)]);
        this.page = 0;
        this.update();
      };
      const options = values.map((value, index) => h("option", { value: index }, value || "–"));
      tools.append(h("label", {}, column.name, h("select", { onchange: pick }, h("option", { value: "" }, "all"), ...options)));
    }
    return tools;
  }

  classes(column, index) {
    return [column.number && "number", column.wide && "wide", column.minor && "minor", index === 0 && "first"].filter(Boolean).join(" ");
  }

  sort(index) {
    const descending = this.order && this.order[0] === index ? !this.order[1] : Boolean(this.columns[index].number);
    this.order = [index, descending];
    this.page = 0;
    this.update();
  }

  turn(by) {
    this.page += by;
    this.draw();
  }

  update() {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !this.texts) {
      this.texts = new Map(this.rows.map((row) => [row, this.columns.map((c) => c.text(row)).join(" ").toLowerCase()]));
    }
    const fits = (row) =>
      [...this.chosen].every(([column, value]) => column.text(row) === value) &&
      words.every((word) => this.texts.get(row).includes(word));
    this.shown = this.chosen.size || words.length ? this.rows.filter(fits) : this.rows.slice();
    if (this.order) {
      const [index, descending] = this.order;
      const value = this.columns[index].value || this.columns[index].text;
      const sign = descending ? -1 : 1;
      // Rows without a value stand last in either direction.
      this.shown.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!known(x) || !known(y)) return known(y) - known(x);
        return sign * (typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0);
      });
    }
    this.heads.forEach((head, index) => {
      if (this.order && this.order[0] === index) head.setAttribute("aria-sort", this.order[1] ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    this.draw();
  }

  draw() {
    const first = this.page * PAGE;
    const rows = this.shown.slice(first, first + PAGE);
    this.body.replaceChildren(...rows.map((row) => h("tr", {}, ...this.columns.map((column, index) => {
      const content = column.cell ? column.cell(row) : column.text(row);
      const classes = [this.classes(column, index), column.mark ? column.mark(row) : ""].filter(Boolean).join(" ");
      return h(index ? "td" : "th", { class: classes || null, scope: index ? null : "row" }, content);
    }))));
    this.back.disabled = this.page === 0;
    this.next.disabled = first + PAGE >= this.shown.length;
    const all = this.rows.length;
    const of = this.shown.length === all ? count(all) : `${count(this.shown.length)} (of ${count(all)})`;
    this.said.textContent = rows.length ? `${count(first + 1)}–${count(first + rows.length)} of ${of}` : `none of ${count(all)}`;
  }
}

function withInterval(cell, digits = 1) {
  if (!cell || !known(cell.mean)) return "–";
  const small = (text) => h("span", { class: "interval" }, text);
  const interval = known(cell.low) ? small(`${percent(cell.low)}–${percent(cell.high)}`) : null;
  return h("span", {}, percent(cell.mean, digits), interval);
}
