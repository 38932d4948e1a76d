// Shared by the scripts that act on the outputs of a notebook; it stands before each of them.

const NOTEBOOK = ".jp-NotebookPanel";
const PATIENCE = 300; // milliseconds without an answer after which the kernel is busy
const QUEUED = "queued: the kernel is busy";

const buildName = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
const isKernelBusy = (model) => model.widget_manager?.kernel?.status === "busy";

// Two notebooks of one page may show jobs with the same ID: a script acts in the notebook of its own kernel only. JupyterLab
// tells which one that is by the second line of its tab's title, its path.
function isOwn(element, model) {
  const notebooks = document.querySelectorAll(NOTEBOOK);
  const notebook = element.closest(NOTEBOOK);
  if (notebooks.length === 0) return true;
  if (!notebook) return false;
  const tab = document.querySelector(`li[data-id="${CSS.escape(notebook.id)}"]`);
  // Notebook 7 has one notebook, and no tabs.
  if (!tab) return notebooks.length === 1;
  const path = model.widget_manager?.context?.path;
  return Boolean(path) && (tab.title.split("\n")[1] ?? "").replace(/^[^:：]*[:：]\s*/, "") === path;
}

// Adds a cell of code below that of an element; false where the page lets nobody do that.
function insertCell(model, element, source) {
  const notebook = model.widget_manager?.context?.model?.sharedModel;
  const cell = element?.closest(".jp-Cell");
  if (!notebook?.insertCell || !cell) return false;
  const place = cell.dataset.windowedListIndex ?? [...cell.parentElement.children].indexOf(cell);
  notebook.insertCell(Number(place) + 1, { cell_type: "code", source, metadata: {} });
  return true;
}

function copyText(text) {
  navigator.clipboard?.writeText(text).catch(() => {});
}

function addStyle(text) {
  const style = document.createElement("style");
  style.textContent = text;
  document.head.append(style);
  return style;
}

// Calls a function in the next frame, and in that after each change of the page: outputs are drawn anew when a cell runs
// again or scrolls into view.
function watchPage(update) {
  let frame = 0;
  const run = () => {
    frame = 0;
    update();
  };
  const schedule = () => { frame ||= requestAnimationFrame(run); };
  const observer = new MutationObserver(schedule);
  observer.observe(document.body, { subtree: true, childList: true });
  schedule();
  const stop = () => {
    observer.disconnect();
    cancelAnimationFrame(frame);
  };
  return { schedule, stop };
}
