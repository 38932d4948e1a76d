// Paints strokes over a picture. Their coordinates are fractions of its width and height, so that the kernel can render a
// mask of any size. They live in the model: a reload shows them again, and two views of one editor show the same.

function render({ model, el }) {
  const frame = document.createElement("div");
  frame.className = "mjci-mask-editor";
  const picture = document.createElement("img");
  picture.alt = model.get("label");
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label",
    "Paint the area to regenerate: with the mouse, or arrow keys to move, Space to paint, Shift and arrows for a line");
  canvas.dataset.lmSuppressShortcuts = "true";
  frame.append(picture, canvas);
  el.append(frame);

  const pen = canvas.getContext("2d");
  let current = null;
  let cursor = null;

  function paint(stroke) {
    pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    pen.lineWidth = stroke.size * canvas.width;
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = "#ff2d6f";
    pen.beginPath();
    const [first, ...rest] = stroke.points.map(([x, y]) => [x * canvas.width, y * canvas.height]);
    pen.moveTo(...first);
    for (const point of rest.length ? rest : [first]) pen.lineTo(...point);
    pen.stroke();
  }

  function draw() {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const finished of model.get("strokes")) paint(finished);
    if (current) paint(current);
    if (cursor && document.activeElement === canvas) {
      pen.globalCompositeOperation = "source-over";
      pen.lineWidth = 2;
      pen.strokeStyle = "#000";
      pen.beginPath();
      pen.arc(cursor[0] * canvas.width, cursor[1] * canvas.height, model.get("brush") * canvas.width / 2, 0, 7);
      pen.stroke();
    }
  }

  function resize() {
    canvas.width = picture.naturalWidth || 1;
    canvas.height = picture.naturalHeight || 1;
    draw();
  }

  function positionOf(event) {
    const box = canvas.getBoundingClientRect();
    const fraction = (at, from, size) => Math.min(1, Math.max(0, (at - from) / size));
    return [fraction(event.clientX, box.left, box.width), fraction(event.clientY, box.top, box.height)];
  }

  function startStroke(point) {
    return { size: model.get("brush"), erase: model.get("erase"), points: [point] };
  }

  function addStroke(stroke) {
    model.set("strokes", [...model.get("strokes"), stroke]);
    model.save_changes();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    cursor = null;
    current = startStroke(positionOf(event));
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!current) return;
    current.points.push(positionOf(event));
    draw();
  });
  const end = () => {
    if (!current) return;
    const finished = current;
    current = null;
    addStroke(finished);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = arrows[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    const from = cursor ?? [0.5, 0.5];
    cursor = move ? from.map((at, axis) => Math.min(1, Math.max(0, at + move[axis] * 0.03))) : from;
    const line = startStroke(from);
    if (move) line.points.push(cursor);
    if (!move || event.shiftKey) addStroke(line);
    draw();
  });
  canvas.addEventListener("focus", () => { cursor ??= [0.5, 0.5]; draw(); });
  canvas.addEventListener("blur", draw);

  const show = () => { picture.src = model.get("picture"); };
  picture.addEventListener("load", resize);
  model.on("change:strokes", draw);
  model.on("change:picture", show);
  show();
  return () => {
    model.off("change:strokes", draw);
    model.off("change:picture", show);
  };
}

export default { render };
