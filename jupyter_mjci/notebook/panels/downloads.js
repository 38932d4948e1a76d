// Puts a file that the kernel sends where the browser keeps its downloads. Once for each model, however many views.

function initialize({ model }) {
  const save = (told, buffers) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type: told.mime }));
    link.download = told.name;
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
