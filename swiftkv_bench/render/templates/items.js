"use strict";
// The item browser. Texts come from models and data sets: they are set as text, never as markup.
for (const browser of document.querySelectorAll(".browser")) {
  const data = JSON.parse(document.getElementById(browser.dataset.items).textContent);
  const form = browser.querySelector("form");
  const list = browser.querySelector(".list");
  const step = 50;
  let shown = step;

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const wanted = (item) => {
    const column = form.elements.column.value, flip = form.elements.flip.value;
    const text = form.elements.text.value.trim().toLowerCase();
    if (column && item.column !== column) return false;
    if (flip === "flips" && item.flip === "same") return false;
    if ((flip === "lost" || flip === "gained") && item.flip !== flip) return false;
    if (flip === "unparsed" && !item.answers.some((a) => a.unparsed)) return false;
    return !text || [item.prompt, item.target, ...item.answers.map((a) => a.text)].some((t) => t.toLowerCase().includes(text));
  };
  const block = (title, text) => {
    const node = make("div");
    node.append(make("h4", "", title), make("pre", "text", text));
    return node;
  };
  const opened = (item) => {
    const node = make("div", "item");
    if (item.prompt) node.append(block("Prompt", item.prompt));
    node.append(block("Expected", item.target));
    const answers = make("div", "answers-of");
    for (const a of item.answers) {
      const mark = a.score === 1 ? "right" : a.score === 0 ? "wrong" : `score ${a.score.toFixed(3)}`;
      answers.append(block(`${data.arms[a.arm] || a.arm}: ${mark}${a.unparsed ? ", unparsed" : ""}`, a.text));
    }
    node.append(answers);
    return node;
  };
  const row = (item) => {
    const details = make("details"), summary = make("summary");
    const last = item.prompt.trim().split("\n").filter(Boolean).pop() || "";
    summary.append(
      make("span", `flip ${item.flip}`, item.flip === "same" ? "same" : item.flip),
      make("span", "", `${data.titles[item.column] || item.column} ${item.task === item.column ? "" : item.task + " "}${item.id}`),
      make("span", "what", last),
    );
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(opened(item));
    });
    return details;
  };
  const draw = () => {
    const found = data.items.filter(wanted);
    form.elements.count.value = `${found.length} item${found.length === 1 ? "" : "s"}`;
    list.replaceChildren(...found.slice(0, shown).map(row));
    if (found.length > shown) {
      const more = make("button", "more", `Show ${Math.min(step, found.length - shown)} more`);
      more.type = "button";
      more.addEventListener("click", () => { shown += step; draw(); });
      list.append(more);
    }
  };
  const restart = () => { shown = step; draw(); };
  form.addEventListener("input", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  if (!data.items.some((item) => item.flip !== "same")) form.elements.flip.value = "";
  draw();
}
