// Doodle, a host application of one file: draw with the pointer, undo. What it offers to plugins is `doodle`.

const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const states = [];

context.fillStyle = "white";
context.fillRect(0, 0, canvas.width, canvas.height);

globalThis.doodle = {
  canvas,
  /** To be called before a change: one step to undo. */
  commit() {
    states.push(context.getImageData(0, 0, canvas.width, canvas.height));
  },
  undo() {
    const state = states.pop();
    if (state !== undefined) {
      context.putImageData(state, 0, 0);
    }
  },
};

document.getElementById("undo").addEventListener("click", () => globalThis.doodle.undo());
canvas.addEventListener("pointerdown", () => globalThis.doodle.commit());
canvas.addEventListener("pointermove", (event) => {
  if (event.buttons === 1) {
    context.fillStyle = "#c8452d";
    context.beginPath();
    context.arc(event.offsetX, event.offsetY, 9, 0, 7);
    context.fill();
  }
});
