// Saves a file that the kernel sends as a download of the browser: once per model, not once per view.

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

function render({ el }) {
  el.hidden = true;
}

export default { initialize, render };
