// Figma as far as the plugin uses it, on the official typings: a page with nodes, images, storage and undo. It refuses what Figma
// refuses. Runs in Node and in a page.

type Changes<T> = { -readonly [K in keyof T]?: T[K] };

const LONGEST = 4096;

/** What a node of the fake is made of; absolute position is computed from the parents. */
export interface Plan {
  readonly id: string;
  readonly name: string;
  readonly type: SceneNode["type"];
  readonly x?: number;
  readonly y?: number;
  readonly width?: number;
  readonly height?: number;
  /** In degrees. */
  readonly rotation?: number;
  readonly fills?: readonly Paint[] | "mixed";
  readonly layoutMode?: "NONE" | "HORIZONTAL" | "VERTICAL";
  readonly children?: readonly Plan[];
}

export class FakeNode {
  readonly id: string;
  name: string;
  readonly type: string;
  x: number;
  y: number;
  width: number;
  height: number;
  rotation: number;
  fills: readonly Paint[] | symbol;
  layoutMode: string | undefined;
  layoutPositioning = "AUTO";
  parent: FakeNode | null = null;
  children: FakeNode[] = [];
  exports: ExportSettingsImage[] = [];

  constructor(
    private readonly figma: FakeFigma,
    plan: Omit<Plan, "type"> & { type: string },
  ) {
    const { id, name, type, x = 0, y = 0, width = 100, height = 100, rotation = 0, layoutMode } = plan;
    Object.assign(this, { id, name, type });
    this.id = id;
    this.name = name;
    this.type = type;
    [this.x, this.y, this.width, this.height, this.rotation] = [x, y, width, height, rotation];
    this.fills = plan.fills === "mixed" ? figma.mixed : (plan.fills ?? []);
    this.layoutMode = layoutMode;
    for (const child of plan.children ?? []) {
      const made = new FakeNode(figma, child);
      made.parent = this;
      this.children.push(made);
    }
  }

  get removed(): boolean {
    return this.type !== "PAGE" && this.parent === null;
  }

  get absoluteTransform(): Transform {
    const turn = (this.rotation * Math.PI) / 180;
    const [[a, b, x], [c, d, y]] = this.parent?.absoluteTransform ?? [[1, 0, 0], [0, 1, 0]];
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    return [
      [a * cos - b * sin, a * sin + b * cos, a * this.x + b * this.y + x],
      [c * cos - d * sin, c * sin + d * cos, c * this.x + d * this.y + y],
    ];
  }

  /** For nodes that stand straight, which is what the tests look at. */
  get absoluteRenderBounds(): Rect | null {
    const [[, , x], [, , y]] = this.absoluteTransform;
    return this.width === 0 ? null : { x, y, width: this.width, height: this.height };
  }

  insertChild(at: number, child: FakeNode): void {
    if (this.type === "INSTANCE") {
      throw new Error("in insertChild: Cannot move node. New parent is an instance or is inside of an instance");
    }
    const before = child.parent?.children.indexOf(child) ?? -1;
    if (before >= 0) {
      child.parent?.children.splice(before, 1);
    }
    this.children.splice(at, 0, child);
    child.parent = this;
  }

  appendChild(child: FakeNode): void {
    this.insertChild(this.children.length, child);
  }

  resize(width: number, height: number): void {
    if (width < 0.01 || height < 0.01) {
      throw new Error("in resize: Expected a size of 0.01 or more");
    }
    [this.width, this.height] = [width, height];
  }

  async exportAsync(settings: ExportSettingsImage): Promise<Uint8Array> {
    this.exports.push(settings);
    const { type, value } = settings.constraint ?? { type: "SCALE", value: 1 };
    const scale = type === "SCALE" ? value : value / (type === "WIDTH" ? this.width : this.height);
    return this.figma.render(Math.round(this.width * scale), Math.round(this.height * scale), this.name);
  }

  /** Everything that an undo brings back. */
  state(): unknown {
    const { id, name, type, x, y, width, height, rotation, layoutMode, layoutPositioning, fills } = this;
    const kept = typeof fills === "symbol" ? "mixed" : structuredClone(fills);
    const children = this.children.map((child) => child.state());
    return { id, name, type, x, y, width, height, rotation, layoutMode, layoutPositioning, fills: kept, children };
  }
}

type Surface = Pick<
  PluginAPI,
  "mixed" | "pluginId" | "commitUndo" | "triggerUndo" | "createImage" | "getImageByHash" | "clientStorage" | "showUI"
>;

/** How a test draws: a PNG of a size. */
export type Render = (width: number, height: number, what: string) => Promise<Uint8Array>;

export class FakeFigma implements Surface {
  readonly mixed: PluginAPI["mixed"] = Symbol("mixed") as PluginAPI["mixed"];
  readonly pluginId = "1234567890";
  readonly images = new Map<string, Uint8Array>();
  readonly storage = new Map<string, unknown>();
  readonly page: FakeNode;
  currentPage: FakeNode & { selection: FakeNode[] };
  readonly ui: Changes<UIAPI> & { postMessage: UIAPI["postMessage"] };
  shown: { html: string; options: ShowUIOptions | undefined } | undefined;
  private undone: unknown[] = [];
  private made = 0;

  constructor(
    plans: readonly Plan[],
    readonly render: Render,
  ) {
    const page = new FakeNode(this, { id: "0:1", name: "Page 1", type: "PAGE", children: plans });
    this.page = page;
    this.currentPage = Object.assign(page, { selection: [] as FakeNode[] });
    this.ui = { postMessage: () => undefined };
    this.undone = [this.page.state()];
  }

  readonly clientStorage: ClientStorageAPI = {
    getAsync: async (key) => this.storage.get(key),
    setAsync: async (key, value) => void this.storage.set(key, structuredClone(value)),
    deleteAsync: async (key) => void this.storage.delete(key),
    keysAsync: async () => [...this.storage.keys()],
  };

  showUI(html: string, options?: ShowUIOptions): void {
    this.shown = { html, options };
  }

  find(id: string, from: FakeNode = this.page): FakeNode | null {
    if (from.id === id) {
      return from;
    }
    return from.children.map((child) => this.find(id, child)).find((found) => found !== null) ?? null;
  }

  async getNodeByIdAsync(id: string): Promise<FakeNode | null> {
    return this.find(id);
  }

  select(...ids: string[]): void {
    this.currentPage.selection = ids.map((id) => this.find(id)).filter((node) => node !== null);
  }

  createRectangle(): FakeNode {
    const node = new FakeNode(this, { id: `9:${(this.made += 1)}`, name: "Rectangle", type: "RECTANGLE" });
    this.page.appendChild(node);
    return node;
  }

  createImage(data: Uint8Array): Image {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (view.getUint32(0) !== 0x89504e47) {
      throw new Error("in createImage: Image type is unsupported");
    }
    if (Math.max(view.getUint32(16), view.getUint32(20)) > LONGEST) {
      throw new Error("in createImage: Image is too large");
    }
    const hash = `made-${(this.made += 1)}`;
    this.images.set(hash, data);
    return this.getImageByHash(hash) as Image;
  }

  getImageByHash(hash: string): Image | null {
    const bytes = this.images.get(hash);
    if (bytes === undefined) {
      return null;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const size = { width: view.getUint32(16), height: view.getUint32(20) };
    return { hash, getBytesAsync: async () => bytes, getSizeAsync: async () => size };
  }

  commitUndo(): void {
    const now = this.page.state();
    if (JSON.stringify(now) !== JSON.stringify(this.undone.at(-1))) {
      this.undone.push(now);
    }
  }

  triggerUndo(): void {
    throw new Error("the user's, not the plugin's");
  }

  /** Ctrl+Z of the user: what the document would be. Uncommitted changes go with the last step. */
  undo(): unknown {
    this.commitUndo();
    if (this.undone.length > 1) {
      this.undone.pop();
    }
    return this.undone.at(-1);
  }
}
