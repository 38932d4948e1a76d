// Submits a form as the page shows it. A widget's changes wait in the page while the kernel is busy, so a plain click would
// overtake them: here one message carries the values of all fields of the form.

// Text and pictures that the kernel shows; nobody can change them in the page.
const DISPLAYS = new Set(["HTMLModel", "HTMLMathModel", "LabelModel", "ImageModel"]);
const KEYS = ["strokes", "selected_rows", "value"];
const READOUT = "[contenteditable=true]";

function* walk(model) {
  yield model;
  const children = model.get("children");
  if (Array.isArray(children)) for (const child of children) yield* walk(child);
}

function readField(model) {
  if (DISPLAYS.has(model.get("_model_name"))) return null;
  const labels = model.get("_options_labels");
  if (labels !== undefined) return { key: "label", value: labels[model.get("index")] ?? null };
  const key = KEYS.find((name) => model.get(name) !== undefined);
  if (!key) return null;
  const serializer = model.constructor.serializers?.[key]?.serialize;
  const value = model.get(key);
  return { key, value: serializer ? serializer(value, model) : value };
}

// JSON has no bytes: they travel beside the message, and their places hold {"buffer": position}.
function packBytes(value, buffers) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { buffer: buffers.push(value) - 1 };
  if (Array.isArray(value)) return value.map((item) => packBytes(item, buffers));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, packBytes(item, buffers)]));
}

// Fields that take over what was typed only when they are left.
function commit(scope) {
  for (const readout of scope.querySelectorAll(READOUT)) readout.dispatchEvent(new Event("blur", { bubbles: true }));
  const field = document.activeElement;
  if (scope.contains(field) && field.matches("input, select, textarea")) {
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

function initialize({ model }) {
  const selector = `button.${model.get("button_class")}`;
  const watched = new WeakSet();
  const touched = new WeakMap(); // when a field was last changed by the person
  let touches = 0;
  let focused = null;
  let timer = 0;

  const findModel = (name) => model.widget_manager.get_model(model.get(name));

  async function watchFields() {
    const form = await findModel("form");
    for (const field of walk(form)) {
      if (watched.has(field)) continue;
      watched.add(field);
      field.on("change", () => {
        if (!field._state_lock) touched.set(field, ++touches); // not while the kernel changes it
      });
    }
  }

  // In the order in which the fields were last changed: where one follows another, the last change wins.
  function readForm(form, buffers) {
    const fields = [];
    for (const field of walk(form)) {
      const state = readField(field);
      if (state) fields.push({ ...state, id: field.model_id, touched: touched.get(field) ?? 0 });
    }
    fields.sort((first, second) => first.touched - second.touched);
    return packBytes(fields, buffers);
  }

  async function submit(scope) {
    if (model.get("click")) return;
    const click = buildName();
    model.set("click", click);
    focused = document.activeElement;
    commit(scope);
    const [form, button] = await Promise.all([findModel("form"), findModel("button")]);
    model.set("note", isKernelBusy(button) ? QUEUED : "");
    timer = setTimeout(() => model.get("accepted") !== click && model.set("note", QUEUED), PATIENCE);
    button.set("disabled", true);
    const buffers = [];
    const fields = readForm(form, buffers);
    model.send({ click, fields }, undefined, buffers);
  }

  async function onAnswer() {
    if (model.get("click")) return;
    clearTimeout(timer);
    model.set("note", "");
    const button = await findModel("button");
    button.set("disabled", false);
    // A disabled button loses the focus; the person works on where they were.
    if (focused?.isConnected && document.activeElement === document.body) focused.focus({ preventScroll: true });
    focused = null;
  }

  function onClick(event) {
    const button = event.target.closest?.(selector);
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    submit(button.closest(".mjci-scope") ?? button.parentElement);
  }

  function onKey(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    const scope = event.target.closest?.(".mjci-scope");
    // a form inside this one has its own button
    const button = scope?.querySelector(`${selector}.mjci-submit`);
    if (button?.closest(".mjci-scope") !== scope || !scope) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!event.repeat) submit(scope);
  }

  function onFocus(event) {
    if (event.target.closest?.(".mjci-scope")) watchFields().catch(() => {});
  }

  function onLeave(event) {
    if (event.target.matches?.(`.mjci-panel ${READOUT}`)) commit(event.target.parentElement);
  }

  // In the window, and while events are on their way down: before the notebook's own shortcuts and the button's own view.
  const listeners = { click: onClick, keydown: onKey, focusin: onFocus, pointerdown: onFocus, focusout: onLeave };
  for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener, true);
  model.on("change:click", onAnswer);
  return () => {
    clearTimeout(timer);
    for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener, true);
    model.off("change:click", onAnswer);
  };
}

function render({ model, el }) {
  el.className = `${el.className} mjci-faint mjci-submit-note`;
  el.setAttribute("role", "status");
  const show = () => { el.textContent = model.get("note"); };
  model.on("change:note", show);
  show();
  return () => model.off("change:note", show);
}

export default { initialize, render };
