// Puts buttons under the cards of this kernel's jobs, in place of their names. The outputs of the notebook stay as they are;
// what a click brings is shown under the card, as long as the page is open.

// Not in the style of the cards: that is saved with each of them.
const STYLE = `
.mjci-job-buttons { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center; margin-top: 8px }
.mjci-job-buttons button {
  min-height: 26px; padding: 0 9px; border: 1px solid rgba(128, 128, 128, .5); border-radius: 4px;
  background: var(--jp-layout-color2, #eee); color: var(--jp-ui-font-color1, #222);
  font: inherit; font-size: 12px; cursor: pointer;
}
.mjci-job-buttons button:hover { border-color: var(--jp-ui-font-color1, #222) }
.mjci-job-buttons button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1565c0); outline-offset: 1px }
.mjci-job-buttons button:disabled { opacity: .55; cursor: default }
.mjci-job-answers > * { margin-top: 8px }
`;

function initialize({ model }) {
  const owner = buildName();
  const answers = new Map(); // by job, what each click has brought: click to HTML
  const pending = new Map(); // by job, the click that is not yet answered

  const getId = (card) => card.querySelector(".mjci-job-head code")?.textContent ?? "";

  function build(card) {
    const id = getId(card);
    const actions = model.get("cards")[id];
    const names = child(card, ".mjci-job-chips");
    const isRunning = child(card, "[role=progressbar]");
    if (!actions?.length || isRunning || card.closest(".mjci-panel") || !isOwn(card, model)) return;
    const bar = document.createElement("div");
    bar.className = "mjci-job-buttons";
    bar.dataset.actions = JSON.stringify(actions);
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", `Actions of job ${id}`);
    bar.append(...actions.map((action) => buildButton(id, action)), buildStatus());
    const answer = document.createElement("div");
    answer.className = "mjci-job-answers";
    card.dataset.owner = owner;
    if (names) names.hidden = true;
    card.querySelector(".mjci-job-body").append(bar, answer);
    show(card);
  }

  function buildButton(id, { key, label, tooltip }) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.title = tooltip;
    button.addEventListener("click", () => click(id, key, label));
    return button;
  }

  function buildStatus() {
    const status = document.createElement("span");
    status.className = "mjci-job-dim";
    status.setAttribute("role", "status");
    return status;
  }

  const findCards = (id) => [...document.querySelectorAll(`.mjci-job[data-owner="${owner}"]`)].filter((card) => getId(card) === id);
  const child = (card, name) => card.querySelector(`:scope > .mjci-job-body > ${name}`);

  function show(card) {
    const id = getId(card);
    const bar = child(card, ".mjci-job-buttons");
    const waiting = pending.get(id);
    for (const button of bar.querySelectorAll("button")) button.disabled = Boolean(waiting);
    bar.querySelector("[role=status]").textContent = waiting?.note ?? "";
    const box = child(card, ".mjci-job-answers");
    for (const [name, html] of answers.get(id) ?? []) {
      let part = [...box.children].find((element) => element.dataset.click === name);
      if (!part) {
        part = document.createElement("div");
        part.dataset.click = name;
        box.append(part);
      }
      if (part.source !== html) part.innerHTML = part.source = html;
    }
  }

  const showAll = (id) => findCards(id).forEach(show);

  function click(id, key, label) {
    if (pending.has(id)) return;
    const name = buildName();
    const waiting = { name, note: isKernelBusy(model) ? QUEUED : `${label}: sent` };
    pending.set(id, waiting);
    showAll(id);
    model.send({ click: name, job: id, key });
    setTimeout(() => {
      if (pending.get(id) !== waiting) return;
      waiting.note = QUEUED;
      showAll(id);
    }, PATIENCE);
  }

  function onMessage(message, buffers) {
    if (message.file) return save(message.file, buffers);
    if (message.cell) return insertCell(model, findCards(message.job)[0], message.cell) || copyText(message.cell);
    const { click: name, job: id, html } = message;
    if (pending.get(id)?.name === name) pending.delete(id);
    if (!answers.has(id)) answers.set(id, new Map());
    if (html) answers.get(id).set(name, html);
    showAll(id);
  }

  function save(file, buffers) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type: file.mime }));
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  function buildAll() {
    for (const card of document.querySelectorAll(".mjci-job:not([data-owner])")) build(card);
  }

  // Only what has changed: elsewhere a button may have the focus.
  function rebuild() {
    for (const card of document.querySelectorAll(`.mjci-job[data-owner="${owner}"]`)) {
      const actions = JSON.stringify(model.get("cards")[getId(card)]);
      if (child(card, ".mjci-job-buttons").dataset.actions !== actions) remove(card);
    }
    page.schedule();
  }

  function remove(card) {
    child(card, ".mjci-job-buttons")?.remove();
    child(card, ".mjci-job-answers")?.remove();
    const names = child(card, ".mjci-job-chips");
    if (names) names.hidden = false;
    delete card.dataset.owner;
  }

  model.on("change:cards", rebuild);
  model.on("msg:custom", onMessage);
  const style = addStyle(STYLE);
  const page = watchPage(buildAll);
  return () => {
    style.remove();
    page.stop();
    model.off("change:cards", rebuild);
    model.off("msg:custom", onMessage);
    document.querySelectorAll(`.mjci-job[data-owner="${owner}"]`).forEach(remove);
  };
}

function render({ el }) {
  el.hidden = true;
}

export default { initialize, render };
