// Looks at pictures: one by one and large, before and after, rated by keys. It needs no view: it finds the pictures of this
// kernel's jobs in the page. The outputs of the notebook stay as they are.

const PICTURES = ".mjci-live .mjci-pictures img, .mjci-live .mjci-thumb img, .mjci-live .mjci-lineage img, "
  + ".mjci-job img.mjci-job-picture, .jp-OutputArea-output.jp-RenderedImage img";
const PAIR = ".mjci-live .mjci-pair:not(.mjci-preview)";
const STARS = 5;
const STEP = 2; // percent that an arrow key moves the slider
const STYLE = `
img[data-viewer] { cursor: zoom-in }
img[data-viewer]:focus-visible, .mjci-compare [role=slider]:focus-visible { outline: 3px solid var(--jp-brand-color1, #1976d2);
  outline-offset: 2px }
.mjci-thumb img[data-viewer]:focus-visible { outline-offset: -3px }
.mjci-stars { color: #9a5b00; font-size: 13px; letter-spacing: 1px; line-height: 1.3; display: block }
.jp-mod-dark .mjci-stars, [data-jp-theme-light=false] .mjci-stars { color: #ffb74d }
.mjci-thumb .mjci-stars { position: absolute; right: 2px; bottom: 2px; padding: 0 4px; border-radius: 4px;
  background: var(--jp-layout-color1, #fff) }
.mjci-compare { position: relative; display: inline-block; max-width: 100%; touch-action: none; user-select: none; cursor: ew-resize }
.mjci-pair > .mjci-compare { flex: 1 1 100% }
.mjci-pair > .mjci-compared img { display: none }
.mjci-compare img { display: block; width: 100%; height: auto; max-height: none !important; border-radius: 0 }
.mjci-compare img + img { position: absolute; inset: 0; height: 100%; object-fit: contain;
  clip-path: inset(0 0 0 var(--split)) }
.mjci-compare [role=slider] { position: absolute; top: 0; bottom: 0; left: var(--split); width: 28px; margin-left: -14px; cursor: ew-resize }
.mjci-compare [role=slider]::before { content: ""; position: absolute; left: 12px; width: 3px; top: 0; bottom: 0;
  background: #fff; box-shadow: 0 0 0 1px rgba(0, 0, 0, .55) }
.mjci-compare [role=slider]::after { content: "◂▸"; position: absolute; top: calc(50% - 14px); left: 0; width: 28px; height: 28px;
  line-height: 28px; border-radius: 50%; text-align: center; font-size: 11px; background: #fff; color: #111;
  box-shadow: 0 0 0 1px rgba(0, 0, 0, .55) }
.mjci-compare .mjci-side { position: absolute; top: 6px; padding: 0 6px; border-radius: 4px; font-size: 11px;
  background: rgba(0, 0, 0, .65); color: #fff; pointer-events: none }
.mjci-compare-toggle { flex: none }
dialog.mjci-viewer { margin: auto; width: min(96vw, 1400px); height: min(96vh, 1000px); max-width: none; max-height: none; padding: 10px 14px;
  box-sizing: border-box; border: 1px solid var(--jp-border-color1, #999); border-radius: 8px; overflow: hidden;
  background: var(--jp-layout-color1, #fff); color: var(--jp-ui-font-color1, #222);
  font: 13px var(--jp-ui-font-family, system-ui, sans-serif) }
dialog.mjci-viewer[open] { display: flex; flex-direction: column; gap: 8px }
dialog.mjci-viewer::backdrop { background: rgba(0, 0, 0, .6) }
.mjci-viewer-row { display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: center; flex: none }
.mjci-viewer-title { flex: 1 1 14em; min-width: 0; font-weight: 600; overflow-wrap: anywhere; max-height: 3.9em; overflow: auto }
.mjci-viewer-stage { flex: 1 1 auto; min-height: 0; overflow: auto; display: flex; outline-offset: -2px }
.mjci-viewer-stage > * { margin: auto; max-width: 100%; max-height: 100% }
.mjci-viewer-stage > img { object-fit: contain; width: 100%; height: 100% }
.mjci-full .mjci-viewer-stage > * { max-width: none; max-height: none; width: auto; height: auto }
.mjci-viewer button, .mjci-compare-toggle { min-height: 28px; padding: 0 9px; border: 1px solid rgba(128, 128, 128, .5);
  border-radius: 4px; background: var(--jp-layout-color2, #eee); color: inherit; font: inherit; cursor: pointer }
.mjci-viewer button:hover, .mjci-compare-toggle:hover { border-color: currentColor }
.mjci-viewer :is(button, input):focus-visible, .mjci-compare-toggle:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2);
  outline-offset: 1px }
.mjci-viewer button[aria-checked], .mjci-viewer button[aria-pressed=true] { font-weight: 600 }
.mjci-viewer .mjci-star { padding: 0 4px; border-color: transparent; background: none; font-size: 20px; line-height: 26px; color: #9a5b00 }
[data-jp-theme-light=false] .mjci-viewer .mjci-star { color: #ffb74d }
.mjci-viewer input { flex: 1 1 8em; min-width: 5em; max-width: 20em; height: 26px; box-sizing: border-box; padding: 0 6px; border-radius: 4px;
  border: 1px solid rgba(128, 128, 128, .6); background: var(--jp-layout-color0, #fff); color: inherit; font: inherit }
.mjci-viewer .mjci-lineage { max-height: 110px; overflow: auto }
.mjci-viewer-status { flex: 1 1 auto; opacity: .8 }
@media (max-width: 640px) { dialog.mjci-viewer { width: 100vw; height: 100vh; padding: 8px } }
`;

function create(tag, className = "", properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  if (className) element.className = className;
  return element;
}

function buildButton(label, tooltip, onClick) {
  const button = create("button", "", { type: "button", textContent: label, title: tooltip });
  button.addEventListener("click", onClick);
  return button;
}

// Two pictures on one place; a slider says how much is seen of each. `state` keeps its position for the next one.
function buildSlider(before, after, state) {
  const box = create("div", "mjci-compare");
  const handle = create("div");
  handle.tabIndex = 0;
  handle.setAttribute("role", "slider");
  handle.setAttribute("aria-label", "Before and after");
  handle.setAttribute("aria-valuemin", "0");
  handle.setAttribute("aria-valuemax", "100");
  box.append(...[before, after].map(({ src, alt }) => create("img", "", { src, alt, draggable: false })), handle);
  box.append(create("span", "mjci-side", { textContent: "before", style: "left: 6px" }));
  box.append(create("span", "mjci-side", { textContent: "after", style: "right: 6px" }));

  function move(percent) {
    state.position = Math.round(Math.min(100, Math.max(0, percent)));
    box.style.setProperty("--split", `${state.position}%`);
    handle.setAttribute("aria-valuenow", state.position);
    handle.setAttribute("aria-valuetext", `${state.position} % before, ${100 - state.position} % after`);
  }

  const follow = (event) => {
    const { left, width } = box.getBoundingClientRect();
    move((100 * (event.clientX - left)) / width);
  };
  box.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    handle.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    follow(event);
  });
  box.addEventListener("pointermove", (event) => box.hasPointerCapture(event.pointerId) && follow(event));
  box.moveBy = move;
  move(state.position ?? 50);
  return box;
}

// Where a key moves the slider's handle; undefined for other keys.
function getTarget(event, position) {
  const step = event.shiftKey ? 5 * STEP : STEP;
  return {
    ArrowLeft: position - step, ArrowDown: position - step, ArrowRight: position + step, ArrowUp: position + step,
    PageDown: position - 10, PageUp: position + 10, Home: 0, End: 100,
  }[event.key];
}

const formatStars = (count) => (count ? "★".repeat(count) + "☆".repeat(STARS - count) : "");
const getRatingKey = (name) => (name.endsWith("]") ? name : `${name}[0]`);

// The name of the picture that an element shows: the ID of its job, or ID[2]; "" for a picture of no job.
function getName(img) {
  if (img.dataset.picture) return img.dataset.picture;
  const card = img.closest(".mjci-job") ?? findCard(img);
  const id = card?.querySelector(".mjci-job-head code")?.textContent ?? "";
  if (!id || card.contains(img)) return id;
  // The results of a job are outputs of their own, below its card.
  const results = [...img.closest(".jp-OutputArea").querySelectorAll(".jp-RenderedImage img")].filter((other) => findCard(other) === card);
  return results.length > 1 ? `${id}[${results.indexOf(img)}]` : id;
}

function findCard(img) {
  const cards = img.closest(".jp-OutputArea")?.querySelectorAll(".mjci-job:not(.mjci-job-answers *)") ?? [];
  return [...cards].findLast((card) => card.compareDocumentPosition(img) & Node.DOCUMENT_POSITION_FOLLOWING);
}

function initialize({ model }) {
  const owner = buildName();
  const requests = new Map(); // those without an answer
  const comparisons = new WeakMap(); // by what holds a pair: whether it is compared, and where the slider stands
  let viewer = null; // the open dialog

  const getRating = (name) => model.get("ratings")[getRatingKey(name)] ?? {};

  function ask(kind, name, details = {}) {
    const id = buildName();
    model.send({ id, kind, name, ...details });
    return new Promise((resolve) => requests.set(id, resolve));
  }

  function onMessage({ id, ...answer }, buffers) {
    requests.get(id)?.({ ...answer, buffers });
    requests.delete(id);
  }

  // --- in the page ---

  function decorate(img) {
    const name = getName(img);
    if ((!name && !img.closest(".mjci-panel")) || img.closest("dialog, .mjci-compare") || !isOwn(img, model)) return;
    img.dataset.viewer = owner;
    img.tabIndex = 0;
    img.setAttribute("role", "button");
    img.setAttribute("aria-haspopup", "dialog");
    img.title = name ? "Enter: look closer; 1 to 5: rate, 0: take the rating away" : "Enter: look closer";
    showStars(img, name);
  }

  function showStars(img, name = getName(img)) {
    const text = name ? formatStars(getRating(name).stars) : "";
    let badge = img.nextElementSibling?.matches(".mjci-stars") ? img.nextElementSibling : null;
    if (!text) return badge?.remove();
    if (!badge) img.after((badge = create("span", "mjci-stars")));
    badge.textContent = text;
    badge.setAttribute("role", "img");
    badge.setAttribute("aria-label", `${getRating(name).stars} of ${STARS} stars`);
  }

  const getOwn = () => [...document.querySelectorAll(`img[data-viewer="${owner}"]`)];
  const getPanel = (img) => img.closest(".mjci-panel")?.className.match(/mjci-panel-(\S+)/)?.[1] ?? "";

  async function rate(img, stars) {
    const { error } = await ask("rate", getName(img), { stars, panel: getPanel(img) });
    if (error) img.title = error;
  }

  // A pair of pictures gets a button that lays them over each other.
  function decoratePair(pair) {
    const images = pair.querySelectorAll(":scope img");
    if (images.length !== 2 || !isOwn(pair, model)) return;
    const holder = pair.closest(".mjci-rule-preview, .mjci-card") ?? pair;
    if (!comparisons.has(holder)) comparisons.set(holder, { isOn: false });
    const state = comparisons.get(holder);
    pair.dataset.viewer = owner;
    const toggle = buildButton("⇆ Compare", "Lay the two pictures over each other", () => {
      state.isOn = !state.isOn;
      show();
    });
    toggle.classList.add("mjci-compare-toggle");
    pair.append(toggle);
    const figures = [...pair.children].filter((child) => child !== toggle);

    function show() {
      pair.querySelector(".mjci-compare")?.remove();
      if (state.isOn) pair.prepend(buildSlider(images[0], images[1], state));
      toggle.setAttribute("aria-pressed", state.isOn);
      for (const figure of figures) figure.classList.toggle("mjci-compared", state.isOn);
    }

    show();
  }

  function update() {
    for (const img of document.querySelectorAll(PICTURES)) if (!img.dataset.viewer) decorate(img);
    for (const pair of document.querySelectorAll(PAIR)) if (!pair.dataset.viewer) decoratePair(pair);
  }

  function onRatings() {
    for (const img of getOwn()) showStars(img);
    viewer?.showRating();
  }

  // --- the dialog ---

  function open(img) {
    const scope = img.closest(".mjci-panel") ?? img.closest(".jp-Notebook") ?? document;
    const images = getOwn().filter((other) => scope.contains(other) && other.offsetParent);
    viewer = buildViewer(images, images.indexOf(img));
  }

  function buildViewer(images, start) {
    const dialog = create("dialog", "mjci-viewer jp-ThemedContainer");
    const title = create("div", "mjci-viewer-title");
    const stage = create("div", "mjci-viewer-stage", { tabIndex: -1 });
    const status = create("span", "mjci-viewer-status");
    const lineage = create("div", "mjci-lineage");
    const actions = create("div", "mjci-viewer-row");
    const urls = new Map(); // of pictures in full size
    const comparison = {};
    let position = start;
    let name = "";
    let image = null; // what the stage shows: the picture's element
    let facts = {}; // what the kernel has told of it
    let isCompared = false;
    dialog.setAttribute("aria-label", "Picture viewer");
    status.setAttribute("role", "status");

    const getImage = () => images[position];
    const getPanelName = () => getPanel(getImage());
    const counter = create("span");
    const previous = buildButton("‹", "Previous picture (←)", () => step(-1));
    const next = buildButton("›", "Next picture (→)", () => step(1));
    const compare = buildButton("Compare (C)", "Lay it over the picture that it was made of (C)", () => toggleCompare());
    const full = buildButton("Full size (F)", "A pixel of the picture for each of the screen (F, + and -)", () => setFull(!isFull()));
    const close = buildButton("✕", "Close (Esc)", () => dialog.close());
    for (const button of [previous, next, close]) button.setAttribute("aria-label", button.title);

    const stars = create("span", "", { role: "group" });
    stars.setAttribute("aria-label", "Rating");
    for (let count = 1; count <= STARS; count++) {
      const star = buildButton("☆", `${count} of ${STARS} stars (${count}); again, or 0, takes them away`, () => setStars(count));
      star.className = "mjci-star";
      star.setAttribute("aria-label", `${count} of ${STARS} stars`);
      stars.append(star);
    }
    const tags = buildField("Tags", "words, with commas between", () => ({ tags: tags.value }));
    const note = buildField("Note", "a text of your own", () => ({ note: note.value }));
    const ratingRow = create("div", "mjci-viewer-row");
    ratingRow.append(stars, tags, note);
    const head = create("div", "mjci-viewer-row");
    head.append(title, previous, counter, next, compare, full, close);
    const foot = create("div", "mjci-viewer-row");
    foot.append(status);
    dialog.append(head, stage, ratingRow, lineage, actions, foot);

    function buildField(label, placeholder, read) {
      const input = create("input", "", { placeholder: `${label}: ${placeholder}` });
      input.setAttribute("aria-label", label);
      input.addEventListener("change", async () => say((await ask("rate", name, { ...read(), panel: getPanelName() })).error ?? "Saved"));
      return input;
    }

    const say = (text) => { status.textContent = text; };
    const isFull = () => dialog.classList.contains("mjci-full");

    function setFull(isOn) {
      dialog.classList.toggle("mjci-full", isOn);
      full.setAttribute("aria-pressed", isOn);
      if (isOn) stage.focus({ preventScroll: true });
    }

    function step(direction) {
      position = (position + direction + images.length) % images.length;
      show(getName(getImage()), getImage());
    }

    // Asks the kernel, and says so where it takes its time; null where the dialog shows another picture by then.
    async function request(kind, details) {
      const asked = name;
      const timer = setTimeout(() => say(QUEUED), PATIENCE);
      const answer = await ask(kind, asked, { panel: getPanelName(), ...details });
      clearTimeout(timer);
      if (name !== asked) return null;
      say(answer.error ?? answer.note ?? "");
      return answer.error ? null : answer;
    }

    async function fetchUrl(wanted, answer) {
      if (!urls.has(wanted)) urls.set(wanted, URL.createObjectURL(new Blob(answer.buffers, { type: answer.mime })));
      return urls.get(wanted);
    }

    async function show(wanted, thumbnail) {
      name = wanted;
      facts = {};
      isCompared = false;
      const text = thumbnail.alt || "Picture";
      image = create("img", "", { src: urls.get(name) ?? thumbnail.src, alt: text });
      stage.replaceChildren(image);
      title.textContent = text;
      counter.textContent = `${position + 1} / ${images.length}`;
      previous.disabled = next.disabled = images.length < 2;
      lineage.replaceChildren();
      actions.replaceChildren();
      ratingRow.hidden = !name;
      ratingRow.style.display = name ? "" : "none";
      compare.style.display = findPair() ? "" : "none";
      say("");
      showRating();
      if (!name) return;
      const shown = image;
      const answer = await request("show");
      if (!answer) return;
      facts = answer;
      shown.src = await fetchUrl(wanted, answer);
      title.textContent = answer.title;
      say(answer.caption);
      compare.style.display = findPair() || facts.parent ? "" : "none";
      showActions();
      const relatives = await request("relatives");
      if (relatives) {
        lineage.innerHTML = relatives.html;
        say(answer.caption);
        for (const img of lineage.querySelectorAll("img")) {
          img.tabIndex = 0;
          img.setAttribute("role", "button");
          img.addEventListener("click", () => show(img.dataset.picture, img));
        }
      }
    }

    function showRating() {
      if (!name) return;
      const rating = getRating(name);
      [...stars.children].forEach((star, index) => {
        star.textContent = index < (rating.stars ?? 0) ? "★" : "☆";
        star.setAttribute("aria-pressed", index + 1 === rating.stars);
      });
      if (document.activeElement !== tags) tags.value = rating.tags ?? "";
      if (document.activeElement !== note) note.value = rating.note ?? "";
    }

    function setStars(count) {
      if (!name) return;
      const stars = count === getRating(name).stars ? 0 : count;
      request("rate", { stars }).then((answer) => answer && say(stars ? `${stars} of ${STARS} stars` : "No stars"));
    }

    function showActions() {
      if (facts.targets.length) actions.append(create("span", "", { textContent: "Send to" }));
      for (const { key, label, tooltip } of facts.targets) {
        actions.append(buildButton(label, tooltip, () => act("send", { target: key })));
      }
      if (facts.reuse) actions.append(buildButton("Use again", facts.reuse, () => act("reuse")));
    }

    // What the kernel answers is in the form of the panel, or becomes a cell.
    async function act(kind, details = {}) {
      const answer = await request(kind, details);
      if (!answer) return;
      if (!answer.cell) return dialog.close();
      if (insertCell(model, getImage(), answer.cell)) return dialog.close();
      copyText(answer.cell);
      say(`Copied: ${answer.cell}`);
    }

    const findPair = () => {
      const pair = getImage().closest(".mjci-pair");
      const found = pair ? [...pair.querySelectorAll("img[data-viewer]")] : [];
      return found.length === 2 && name === getName(getImage()) ? found : null;
    };

    async function toggleCompare() {
      isCompared = !isCompared;
      compare.setAttribute("aria-pressed", isCompared);
      if (!isCompared) return stage.replaceChildren(image);
      const pair = findPair();
      if (pair) return showSlider(pair[0], pair[1]);
      const parent = facts.parent;
      const answer = await request("show", { name: parent });
      if (answer) showSlider({ src: await fetchUrl(parent, answer), alt: answer.title }, image);
    }

    function showSlider(before, after) {
      const slider = buildSlider(before, after, comparison);
      stage.replaceChildren(slider);
      slider.querySelector("[role=slider]").focus({ preventScroll: true });
    }

    const keys = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), f: () => setFull(!isFull()), "+": () => setFull(true),
      "-": () => setFull(false), c: () => compare.style.display !== "none" && toggleCompare(), 0: () => setStars(getRating(name).stars ?? 0),
    };
    for (let count = 1; count <= STARS; count++) keys[count] = () => count !== getRating(name).stars && setStars(count);

    // Returns whether the dialog has taken the key.
    function onDialogKey(event) {
      if (event.key === "Escape") return false;
      if (event.target.matches("input")) return false;
      if (event.target.matches("img[role=button]") && [" ", "Enter"].includes(event.key)) return event.target.click() ?? true;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!keys[key]) return false;
      keys[key]();
      return true;
    }

    const opener = getImage();
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      viewer = null;
      dialog.remove();
      urls.forEach((url) => URL.revokeObjectURL(url));
      // where it was; the page may have drawn the picture anew
      const last = [opener, ...getOwn().filter((img) => getName(img) === getName(opener))].find((img) => img.isConnected);
      last?.focus({ preventScroll: true });
    });
    document.body.append(dialog);
    dialog.showModal();
    close.focus();
    show(getName(getImage()), getImage());
    return { dialog, showRating, onKey: onDialogKey };
  }

  // --- keys: in the window, and on their way down, before the notebook's own shortcuts ---

  function takeKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return false;
    const { target, key } = event;
    if (target.matches?.(".mjci-compare [role=slider]")) {
      const percent = getTarget(event, Number(target.getAttribute("aria-valuenow")));
      if (percent !== undefined) return target.parentElement.moveBy(percent) ?? true;
    }
    if (viewer) return viewer.onKey(event);
    if (target.dataset?.viewer !== owner || !target.matches("img")) return false;
    if (key === "Enter" || key === " ") return open(target) ?? true;
    if (/^[0-5]$/.test(key) && getName(target)) return rate(target, Number(key)) && true;
    return false;
  }

  function onKey(event) {
    if (!event.target.closest) return;
    const isTaken = takeKey(event);
    if (isTaken) event.preventDefault();
    // The notebook must not hear what is typed in the dialog.
    if (isTaken || viewer) event.stopImmediatePropagation();
  }

  function onClick(event) {
    if (event.target.matches?.(`img[data-viewer="${owner}"]`) && !event.target.closest("button")) {
      event.preventDefault();
      open(event.target);
    }
  }

  window.addEventListener("keydown", onKey, true);
  window.addEventListener("click", onClick, true);
  model.on("change:ratings", onRatings);
  model.on("msg:custom", onMessage);
  const style = addStyle(STYLE);
  const page = watchPage(update);
  return () => {
    style.remove();
    page.stop();
    viewer?.dialog.close();
    window.removeEventListener("keydown", onKey, true);
    window.removeEventListener("click", onClick, true);
    model.off("change:ratings", onRatings);
    model.off("msg:custom", onMessage);
    for (const img of getOwn()) {
      delete img.dataset.viewer;
      ["tabindex", "role", "aria-haspopup", "title"].forEach((attribute) => img.removeAttribute(attribute));
      if (img.nextElementSibling?.matches(".mjci-stars")) img.nextElementSibling.remove();
    }
  };
}

function render({ el }) {
  el.hidden = true;
}

export default { initialize, render };
