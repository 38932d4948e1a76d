// What a panel needs of the page: files that the kernel sends become downloads, once per model and not once per view, and
// what widgets leave without a name gets one.

function initialize({ model }) {
  const save = (file, buffers) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type: file.mime }));
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  model.on("msg:custom", save);
  return () => model.off("msg:custom", save);
}

// The handle and the number of a slider, the swatch of a colour: by the label beside them.
const NAMELESS = ":is(.noUi-handle, .widget-readout, input[type=color]):not([aria-label])";

function nameParts(panel) {
  for (const part of panel.querySelectorAll(NAMELESS)) {
    const label = part.closest(".jupyter-widgets")?.querySelector(".widget-label");
    const text = label?.textContent.trim();
    if (!text) continue;
    part.setAttribute("aria-label", text);
    if (part.isContentEditable) part.setAttribute("role", "textbox");
  }
}

function render({ el }) {
  el.hidden = true;
  let observer = null;
  const start = () => {
    const panel = el.closest(".mjci-panel");
    if (!panel) return;
    nameParts(panel);
    observer = new MutationObserver(() => nameParts(panel));
    observer.observe(panel, { subtree: true, childList: true });
  };
  // The page attaches a view after it was rendered.
  const frame = requestAnimationFrame(start);
  return () => {
    cancelAnimationFrame(frame);
    observer?.disconnect();
  };
}

export default { initialize, render };
