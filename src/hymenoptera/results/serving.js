const byId = (id) => document.getElementById(id);
const drop = byId("drop"), said = byId("said"), answer = byId("answer");
const MOST_CLASSES = 5;

function make(kind, properties, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

function say(text, bad = false) {
  said.textContent = text;
  said.className = bad ? "bad" : "soft";
}

function show(found) {
  byId("shares").replaceChildren(...found.shares.slice(0, MOST_CLASSES).map(([name, share]) => {
    const percent = `${(100 * share).toFixed(1)} %`;
    const bar = make("i", {});
    bar.style.width = percent.replace(" ", "");
    return make("div", { className: "share" },
      make("span", { textContent: name }), make("b", { textContent: percent }), bar);
  }));
  byId("seen").src = found.seen;
  byId("heat").src = found.heat;
  byId("nearest").replaceChildren(...found.nearest.map(([picture, line]) =>
    make("figure", {}, make("img", { src: picture, alt: line }), make("figcaption", { textContent: line }))));
  byId("like").hidden = !found.nearest.length;
  answer.hidden = false;
}

async function look(file) {
  if (!file) return;
  answer.hidden = true;
  if (file.size > largest) {
    say(`${file.name} is too large: files of up to ${largest / 1e6} MB are taken.`, true);
    return;
  }
  say(`Looking at ${file.name} ...`);
  try {
    const given = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file };
    const response = await fetch("look", given);
    const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
    const found = isJson ? await response.json() : { error: response.statusText };
    if (found.error) return say(found.error, true);
    show(found);
    say(file.name);
  } catch {
    say("There is no answer: hymenoptera serve has ended, or cannot be reached.", true);
  }
}

const chooser = drop.querySelector("input");
chooser.addEventListener("change", () => { look(chooser.files[0]); });
chooser.addEventListener("click", () => { chooser.value = ""; });
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") look(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => look(event.clipboardData.files[0]));
