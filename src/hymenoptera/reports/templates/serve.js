const byId = (id) => document.getElementById(id);
const drop = byId("drop"), message = byId("message"), answer = byId("answer");
const MAX_CLASSES = 5;

function make(kind, properties, ...children) {
  const element = Object.assign(document.createElement(kind), properties);
  element.append(...children);
  return element;
}

function say(text, bad = false) {
  message.textContent = text;
  message.className = bad ? "bad" : "soft";
}

function show(result) {
  byId("probabilities").replaceChildren(...result.probabilities.slice(0, MAX_CLASSES).map(([name, share]) => {
    const percent = `${(100 * share).toFixed(1)} %`;
    const bar = make("i", {});
    bar.style.width = percent.replace(" ", "");
    return make("div", { className: "share" },
      make("span", { textContent: name }), make("b", { textContent: percent }), bar);
  }));
  byId("unfamiliar").hidden = result.is_familiar !== false;
  byId("familiarity").textContent = result.familiarity === null ? "" :
    `${(100 * result.familiarity).toFixed(0)} % of the validation images are at least as unlike the training images.`;
  byId("seen").src = result.seen;
  byId("heat_map").src = result.heat_map;
  byId("nearest").replaceChildren(...result.nearest.map(([image, line]) =>
    make("figure", {}, ...(image ? [make("img", { src: image, alt: line })] : []),
      make("figcaption", { textContent: line }))));
  byId("neighbours").hidden = !result.nearest.length;
  answer.hidden = false;
}

async function classify(file) {
  if (!file) return;
  answer.hidden = true;
  if (file.size > maxBytes) {
    say(`${file.name} is too large: files of up to ${maxBytes / 1e6} MB are taken.`, true);
    return;
  }
  say(`Looking at ${file.name} ...`);
  try {
    const request = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file };
    const response = await fetch("predict", request);
    const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
    const result = isJson ? await response.json() : { detail: response.statusText || `Error ${response.status}` };
    if (result.detail) return say(result.detail, true);
    show(result);
    say(file.name);
  } catch {
    say("There is no answer: hymenoptera serve has ended, or cannot be reached.", true);
  }
}

const chooser = drop.querySelector("input");
chooser.addEventListener("change", () => { classify(chooser.files[0]); });
chooser.addEventListener("click", () => { chooser.value = ""; });
for (const kind of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") classify(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => classify(event.clipboardData.files[0]));
