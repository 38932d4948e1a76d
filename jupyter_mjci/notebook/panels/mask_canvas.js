// A picture to paint on: strokes are kept in parts of its width and height, so that any size of mask can be made of them.
// They live in the model: a reload shows them again, and two views of one painter show the same.

function render({ model, el }) {
  const frame = document.createElement("div");
  frame.className = "mjci-painter";
  const picture = document.createElement("img");
  picture.alt = model.get("label");
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label",
    "Paint what is to be drawn anew: with the mouse, or arrow keys to move, Space to paint, Shift and arrows for a line");
  canvas.dataset.lmSuppressShortcuts = "true";
  frame.append(picture, canvas);
  el.append(frame);

  const pen = canvas.getContext("2d");
  let stroke = null;
  let cursor = null;

  function paint(one) {
    pen.globalCompositeOperation = one.erase ? "destination-out" : "source-over";
    pen.lineWidth = one.size * canvas.width;
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = "#ff2d6f";
    pen.beginPath();
    const [first, ...rest] = one.points.map(([x, y]) => [x * canvas.width, y * canvas.height]);
    pen.moveTo(...first);
    for (const point of rest.length ? rest : [first]) pen.lineTo(...point);
    pen.stroke();
  }

  function draw() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const one of model.get("strokes")) paint(one);
    if (stroke) paint(stroke);
    if (cursor && document.activeElement === canvas) {
      pen.globalCompositeOperation = "source-over";
      pen.lineWidth = 2;
      pen.strokeStyle = "#000";
      pen.beginPath();
      pen.arc(cursor[0] * canvas.width, cursor[1] * canvas.height, model.get("brush") * canvas.width / 2, 0, 7);
      pen.stroke();
    }
  }

  function fit() {
    canvas.width = picture.naturalWidth || 1;
    canvas.height = picture.naturalHeight || 1;
    draw();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, size) => Math.min(1, Math.max(0, (at - from) / size));
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  }

  function begun(point) {
    return { size: model.get("brush"), erase: model.get("erase"), points: [point] };
  }

  function keep(one) {
    model.set("strokes", [...model.get("strokes"), one]);
    model.save_changes();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    cursor = null;
    stroke = begun(place(event));
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    stroke.points.push(place(event));
    draw();
  });
  const end = () => {
    if (!stroke) return;
    const done = stroke;
    stroke = null;
    keep(done);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    const from = cursor ?? [0.5, 0.5];
    cursor = move ? from.map((at, axis) => Math.min(1, Math.max(0, at + move[axis] * 0.03))) : from;
    const line = begun(from);
    if (move) line.points.push(cursor);
    if (!move || event.shiftKey) keep(line);
    draw();
  });
  canvas.addEventListener("focus", () => { cursor ??= [0.5, 0.5]; draw(); });
  canvas.addEventListener("blur", draw);

  const show = () => { picture.src = model.get("picture"); };
  picture.addEventListener("load", fit);
  model.on("change:strokes", draw);
  model.on("change:picture", show);
  show();
  return () => {
    model.off("change:strokes", draw);
    model.off("change:picture", show);
  };
}

export default { render };
