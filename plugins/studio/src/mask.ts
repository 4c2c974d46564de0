// What of a picture is selected, as a picture of its own: drawn white by rectangle, lasso and brush.

export interface Point {
  readonly x: number;
  readonly y: number;
}

export type Tool = "rectangle" | "lasso" | "brush";

/** A selection that is being drawn, of the size of its picture. */
export class Mask {
  private readonly canvas = document.createElement("canvas");
  private readonly context;
  private stroke: Point[] = [];
  private empty = true;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d") as CanvasRenderingContext2D;
    this.context.fillStyle = "white";
    this.context.strokeStyle = "white";
    this.context.lineCap = "round";
    this.context.lineJoin = "round";
  }

  get isEmpty(): boolean {
    return this.empty;
  }

  begin(at: Point): void {
    this.stroke = [at];
  }

  move(to: Point): void {
    this.stroke.push(to);
  }

  /** Adds what was drawn; a brush paints as it goes. */
  end(tool: Tool, brushPx: number): void {
    if (this.stroke.length > 0) {
      draw(this.context, tool, this.stroke, brushPx);
      this.empty = false;
    }
    this.stroke = [];
  }

  clear(): void {
    this.context.clearRect(0, 0, this.width, this.height);
    this.empty = true;
    this.stroke = [];
  }

  /** Shows the selection, and what is being added, in the colour of a context. */
  show(on: CanvasRenderingContext2D, tool: Tool, brushPx: number): void {
    on.globalCompositeOperation = "source-over";
    on.clearRect(0, 0, this.width, this.height);
    on.drawImage(this.canvas, 0, 0);
    if (this.stroke.length > 0) {
      draw(on, tool, this.stroke, brushPx);
    }
    on.globalCompositeOperation = "source-in";
    on.fillRect(0, 0, this.width, this.height);
    on.globalCompositeOperation = "source-over";
  }

  /** White on black, as the daemon takes it; `undefined` when nothing is selected. */
  async file(): Promise<Blob | undefined> {
    if (this.empty) {
      return undefined;
    }
    const out = document.createElement("canvas");
    out.width = this.width;
    out.height = this.height;
    const context = out.getContext("2d") as CanvasRenderingContext2D;
    context.fillRect(0, 0, this.width, this.height);
    context.drawImage(this.canvas, 0, 0);
    return (await new Promise<Blob | null>((done) => out.toBlob(done, "image/png"))) ?? undefined;
  }
}

/** One stroke of a tool. */
export function draw(on: CanvasRenderingContext2D, tool: Tool, stroke: readonly Point[], brushPx: number): void {
  const [first = { x: 0, y: 0 }] = stroke;
  const last = stroke.at(-1) ?? first;
  if (tool === "rectangle") {
    on.fillRect(Math.min(first.x, last.x), Math.min(first.y, last.y), Math.abs(last.x - first.x), Math.abs(last.y - first.y));
    return;
  }
  on.beginPath();
  on.moveTo(first.x, first.y);
  stroke.forEach(({ x, y }) => on.lineTo(x, y));
  if (tool === "lasso") {
    on.fill();
    return;
  }
  on.lineWidth = brushPx;
  on.lineCap = "round";
  on.lineJoin = "round";
  on.stroke();
}

/** Where a pointer is on a canvas that may be shown smaller, with bars beside it. */
export function pointOn(canvas: HTMLCanvasElement, { clientX, clientY }: { clientX: number; clientY: number }): Point {
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
  const left = box.left + (box.width - canvas.width * scale) / 2;
  const top = box.top + (box.height - canvas.height * scale) / 2;
  const within = (value: number, most: number): number => Math.round(Math.min(Math.max(value, 0), most));
  return { x: within((clientX - left) / scale, canvas.width), y: within((clientY - top) / scale, canvas.height) };
}
