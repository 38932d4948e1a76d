// Shows the labels of panels and cards in the browser's language, if there is a catalogue of it. Only what the page shows
// changes: the kernel's texts, and so the saved notebook and what a form sends, stay as they are.

const ROOTS = ".mjci-panel, .mjci-job, .mjci-viewer";
// what people and services have written, what code is, and names of columns
const KEPT = "code, pre, th, [contenteditable], .mjci-prompt, .mjci-job-subject, .mjci-job-why, .mjci-viewer-title, .mjci-tile button";
const ATTRIBUTES = ["title", "placeholder", "aria-label"];
// Between the parts of a text that are translated each by itself.
const SEPARATOR = /(, | · |: |:$)/;
// A word with a number or a sign: "2 failed", "running 42%", "Upload (0)", "🔄 reroll".
const COUNTED = /^([^\p{L}]+ )?(\D+?)( [\d.,]+%?| \(\d+\))?$/u;
// What stands for a number in a message. Messages with other names are looked for in tooltips only, where no person's text is.
const NUMBERS = new Set(["{}", "{count}", "{first}", "{last}", "{low}", "{high}"]);

// The first of the browser's languages that is not English; a person who reads English is shown English.
function findLanguage() {
  const [first = ""] = navigator.languages ?? [navigator.language];
  const language = first.split("-")[0].toLowerCase();
  return language === "en" ? "" : language;
}

const escapeExpression = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// "{first}–{last} of {count} jobs" as an expression with a group for each name.
function buildPattern([text, translation]) {
  const names = text.match(/\{\w*\}/g);
  const source = text.split(/(\{\w*\})/).map((part, index) => {
    if (index % 2 === 0) return escapeExpression(part);
    return NUMBERS.has(part) ? "([\\d.,]+)" : "(.+)";
  });
  return { expression: new RegExp(`^${source.join("")}$`), names, translation };
}

function fillPattern(patterns, text) {
  for (const { expression, names, translation } of patterns) {
    const match = expression.exec(text);
    if (match) return names.reduce((filled, name, index) => filled.replace(name, () => match[index + 1]), translation);
  }
  return null;
}

// Two functions: of a text, and of a tooltip.
function buildTranslators(messages) {
  const known = new Map(Object.entries(messages));
  const patterns = [...known].filter(([text]) => /\{\w*\}/.test(text)).map(buildPattern);
  const numbered = patterns.filter(({ names }) => names.every((name) => NUMBERS.has(name)));

  function translatePart(text) {
    if (!/[A-Za-z]/.test(text)) return text;
    const [, before = "", word, after = ""] = COUNTED.exec(text) ?? [];
    const found = known.get(text) ?? fillPattern(numbered, text);
    return found ?? (known.has(word) ? `${before}${known.get(word)}${after}` : null);
  }

  function translateText(text) {
    const whole = translatePart(text);
    if (whole !== null) return whole;
    const parts = text.split(SEPARATOR).map(translatePart);
    return parts.includes(null) ? null : parts.join("");
  }

  const build = (find) => (text) => {
    // Options of a list have other blanks.
    const trimmed = text.replaceAll("\u00a0", " ").trim();
    const found = /[A-Za-z]/.test(trimmed) ? find(trimmed) : null;
    return found ? text.replace(text.trim(), () => found) : text;
  };
  return [build(translateText), build((text) => translateText(text) ?? fillPattern(patterns, text))];
}

// Of the cells of a table only a status is a word of ours.
function isData(cell) {
  const header = cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex];
  return header?.textContent.trim() !== "status";
}

function isKept(element) {
  const cell = element.closest("td");
  return element.closest(KEPT) !== null || (cell !== null && isData(cell));
}

function translateRoot(root, [translateText, translateTooltip], language) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const text = translateText(node.data);
    if (text !== node.data && !isKept(node.parentElement)) node.data = text;
  }
  for (const element of root.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) {
    for (const name of ATTRIBUTES) {
      const old = element.getAttribute(name);
      const text = old && translateTooltip(old);
      if (text !== old) element.setAttribute(name, text);
    }
  }
  root.lang = language;
}

function initialize({ model }) {
  const language = findLanguage();
  if (!language) return;
  let translators = null;
  const update = () => {
    if (!translators || !model.get("is_enabled")) return;
    for (const root of document.querySelectorAll(ROOTS)) translateRoot(root, translators, language);
  };
  const page = watchPage(update);
  const onCatalogue = ({ messages }) => {
    translators = buildTranslators(messages);
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
