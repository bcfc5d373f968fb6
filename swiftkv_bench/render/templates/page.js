"use strict";
// On paper nothing is folded.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not(.list details)")) details.open = true;
});

const unpack = async (text) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
};

// The item browser. Texts come from models and data sets: they are set as text, never as markup.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

const browse = async (browser) => {
  const form = browser.querySelector("form"), list = browser.querySelector(".list"), step = 50;
  let data;
  try {
    data = await unpack(document.getElementById(browser.dataset.items).textContent);
  } catch {
    form.elements.count.value = "This browser cannot unpack the items; items.jsonl in the run folder has every item.";
    return;
  }
  const text = (place) => data.texts[place];
  let shown = step;

  const wanted = (item) => {
    const column = form.elements.column.value, flip = form.elements.flip.value;
    const sought = form.elements.text.value.trim().toLowerCase();
    if (column && item.c !== column) return false;
    if (flip === "flips" && item.f === "same") return false;
    if ((flip === "lost" || flip === "gained") && item.f !== flip) return false;
    if (flip === "unparsed" && !item.a.some((a) => a.u)) return false;
    return !sought || [item.p, item.e, ...item.a.map((a) => a.x)].some((at) => text(at).toLowerCase().includes(sought));
  };
  const mark = (a) => (a.s === 1 ? "right" : a.s === 0 ? "wrong" : `score ${a.s.toFixed(3)}`);
  const sign = (a) => (a.s === 1 ? "✓" : a.s === 0 ? "✗" : a.s.toFixed(3));
  const block = (title, content) => {
    const node = make("div");
    const body = make("pre", "text", content);
    body.tabIndex = 0;
    node.append(make("h4", "", title), body);
    return node;
  };
  const opened = (item) => {
    const node = make("div", "item");
    const prompt = text(item.h) + text(item.p);
    if (prompt) {
      node.append(block("Prompt", prompt));
      queueMicrotask(() => { const pre = node.querySelector("pre"); pre.scrollTop = pre.scrollHeight; });
    }
    node.append(block("Expected", text(item.e)));
    const answers = make("div", "answers-of");
    for (const a of item.a) {
      const read = a.r === undefined ? "" : `, read as ${text(a.r)}`;
      const box = block(`${data.arms[a.a] || a.a}: ${mark(a)}${a.u ? ", unparsed" : read}`, text(a.x));
      box.className = a.s === 1 ? "good" : a.s === 0 ? "bad" : "";
      answers.append(box);
    }
    node.append(answers);
    return node;
  };
  const row = (item) => {
    const details = make("details"), summary = make("summary");
    const answers = make("span", "who");
    for (const a of item.a) {
      const part = make("span", a.s === 1 ? "good" : a.s === 0 ? "bad" : "", sign(a));
      part.title = mark(a);
      answers.append(make("span", "arm", `${data.arms[a.a] || a.a} `), part, " ");
    }
    summary.append(
      make("span", `flip ${item.f}`, item.f),
      make("span", "name", `${data.titles[item.c] || item.c} ${item.t ? item.t + " " : ""}${item.i}`),
      make("span", "what", item.q),
      answers,
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
      more.addEventListener("click", () => {
        const first = shown;
        shown += step;
        draw();
        list.children[first].querySelector("summary").focus();
      });
      list.append(more);
    }
  };
  const restart = () => { shown = step; draw(); };
  form.addEventListener("input", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  if (!data.items.some((item) => item.f !== "same")) form.elements.flip.value = "";
  draw();
  browser.dataset.ready = "";
};
document.querySelectorAll(".browser").forEach(browse);
