// Shows the labels of panels and cards in the browser's language, if there is a catalogue of it. Only what the page shows
// changes: the kernel's texts, and so the saved notebook and what a form sends, stay as they are.

const ROOTS = ".mjci-panel, .mjci-job, .mjci-viewer";
// what people and services have written, what code is, and names of columns
const KEPT = "code, pre, th, [contenteditable], .mjci-job-subject, .mjci-job-why, .mjci-viewer-title";
const ATTRIBUTES = ["title", "placeholder", "aria-label"];
// Between the parts of a text that are translated each by itself.
const SEPARATOR = /(, | · |: ?|:$| ?\d[\d.,]*%?)/;

// The first of the browser's languages that is not English; a person who reads English is shown English.
function findLanguage() {
  const [first = ""] = navigator.languages ?? [navigator.language];
  const language = first.split("-")[0].toLowerCase();
  return language === "en" ? "" : language;
}

const escapeExpression = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// "{first}–{last} of {count} jobs" as an expression with a group for each name.
function buildPattern([text, translation]) {
  const names = [];
  const source = text.split(/(\{\w*\})/).map((part, index) => {
    if (index % 2 === 0) return escapeExpression(part);
    names.push(part);
    return "(.+?)";
  });
  return { expression: new RegExp(`^${source.join("")}$`), names, translation };
}

function buildTranslator(messages) {
  const known = new Map(Object.entries(messages));
  const patterns = [...known].filter(([text]) => /\{\w*\}/.test(text)).map(buildPattern);

  function fillPattern(text) {
    for (const { expression, names, translation } of patterns) {
      const match = expression.exec(text);
      if (match) return names.reduce((filled, name, index) => filled.replace(name, () => match[index + 1]), translation);
    }
    return null;
  }

  function translateParts(text) {
    const parts = text.split(SEPARATOR);
    const words = parts.filter((part, index) => index % 2 === 0 && part);
    if (parts.length === 1 || !words.length || !words.every((word) => known.has(word))) return null;
    return parts.map((part, index) => (index % 2 === 0 && part ? known.get(part) : part)).join("");
  }

  return (text) => {
    const trimmed = text.trim();
    if (!/[A-Za-z]/.test(trimmed)) return text;
    const found = known.get(trimmed) ?? fillPattern(trimmed) ?? translateParts(trimmed);
    return found ? text.replace(trimmed, () => found) : text;
  };
}

function translateRoot(root, translate, language) {
  const isKept = (element) => element.closest(KEPT) !== null;
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const text = translate(node.data);
    if (text !== node.data && !isKept(node.parentElement)) node.data = text;
  }
  for (const element of root.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) {
    for (const name of ATTRIBUTES) {
      const old = element.getAttribute(name);
      const text = old && translate(old);
      if (text !== old) element.setAttribute(name, text);
    }
  }
  root.lang = language;
}

function initialize({ model }) {
  const language = findLanguage();
  if (!language) return;
  let translate = null;
  const update = () => {
    if (!translate || !model.get("is_enabled")) return;
    for (const root of document.querySelectorAll(ROOTS)) translateRoot(root, translate, language);
  };
  const page = watchPage(update);
  const onCatalogue = ({ messages }) => {
    translate = buildTranslator(messages);
    page.schedule();
  };
  model.on("msg:custom", onCatalogue);
  model.on("change:is_enabled", page.schedule);
  model.send({ language });
  return () => {
    page.stop();
    model.off("msg:custom", onCatalogue);
    model.off("change:is_enabled", page.schedule);
  };
}

export default { initialize };
