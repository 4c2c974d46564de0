// The module "photoshop" as far as the plugin uses it, with what Photoshop is strict about: writes only in a modal scope and one at a
// time, bounds trimmed to what has pixels, 16 bits up to 32768, masks only where there are some, one state of the history for each
// suspension.

import type { Region } from "../../src/host/region.js";

type Samples = Uint8Array | Uint16Array;

/** A plane of pixels somewhere on the canvas; `channels` 4 for layers, 1 for masks. */
export interface Plane {
  readonly region: Region;
  readonly channels: number;
  readonly data: Samples;
}

const widthOf = ({ left, right }: Region): number => right - left;
const heightOf = ({ top, bottom }: Region): number => bottom - top;

function refusal(message: string, number = -1): Error {
  return Object.assign(new Error(message), { number });
}

let documents: FakeDocument[] = [];
let ids = 0;
let modalBy: string | undefined;
/** How often the modal scope was taken, and whether somebody saw it held. */
export const watched = { scopes: [] as string[], undisposed: 0, cancels: false };

export function isModal(): boolean {
  return modalBy !== undefined;
}

/** Another plugin, or a dialog, takes the modal scope. */
export function occupy(by: string | undefined): void {
  modalBy = by;
}

export function reset(): void {
  documents = [];
  Object.assign(watched, { scopes: [], undisposed: 0, cancels: false });
  modalBy = undefined;
}

function needsModal(what: string): void {
  if (modalBy === undefined) {
    throw refusal(`${what} may modify the state of Photoshop and is only allowed from inside a modal scope`);
  }
}

export class FakeLayer {
  readonly id = (ids += 1);
  mask: Plane | undefined;

  constructor(
    private readonly document: FakeDocument,
    public name: string,
    public pixels: Plane | undefined,
  ) {}

  move(below: FakeLayer, placement: string): void {
    needsModal("move");
    if (placement !== constants.ElementPlacement.PLACEBEFORE) {
      throw refusal("the fake knows one placement");
    }
    const { layers } = this.document;
    layers.splice(layers.indexOf(this), 1);
    layers.splice(layers.indexOf(below), 0, this);
  }
}

export class FakeDocument {
  readonly id = (ids += 1);
  layers: FakeLayer[] = [];
  activeLayers: FakeLayer[] = [];
  chosen: Plane | undefined;
  mode = "RGBColorMode";
  readonly history: string[] = ["Open"];

  constructor(
    readonly title: string,
    readonly width: number,
    readonly height: number,
    public bitsPerChannel = "bitDepth8",
  ) {
    documents.push(this);
  }

  get bits(): number {
    return Number(this.bitsPerChannel.replace("bitDepth", ""));
  }

  get selection(): { bounds: Region | null } {
    return { bounds: this.chosen?.region ?? null };
  }

  addLayer(name: string, pixels?: Plane): FakeLayer {
    const layer = new FakeLayer(this, name, pixels);
    this.layers.unshift(layer);
    this.activeLayers = [layer];
    return layer;
  }

  async createLayer(_kind: string, { name }: { name: string }): Promise<FakeLayer> {
    needsModal("createLayer");
    return this.addLayer(name);
  }

  close(): void {
    documents = documents.filter((one) => one !== this);
  }

  /** What one sees at a pixel: the uppermost layer that covers it. */
  seen(x: number, y: number): readonly number[] {
    for (const layer of this.layers) {
      const pixel = at(layer.pixels, x, y);
      const shown = layer.mask === undefined ? 1 : (at(layer.mask, x, y)?.[0] ?? 0);
      if (pixel !== undefined && (pixel[3] ?? 0) > 0 && shown > 0) {
        return pixel;
      }
    }
    return [0, 0, 0, 0];
  }

  /** Layers and history, to be compared. */
  state(): unknown {
    const layers = this.layers.map(({ id, name, pixels, mask }) => ({ id, name, pixels, mask }));
    return structuredClone({ layers, active: this.activeLayers.map(({ id }) => id), history: this.history });
  }
}

function at(plane: Plane | undefined, x: number, y: number): readonly number[] | undefined {
  if (plane === undefined || x < plane.region.left || x >= plane.region.right || y < plane.region.top || y >= plane.region.bottom) {
    return undefined;
  }
  const from = ((y - plane.region.top) * widthOf(plane.region) + x - plane.region.left) * plane.channels;
  return Array.from(plane.data.subarray(from, from + plane.channels));
}

class FakeImageData {
  disposed = false;

  constructor(
    readonly width: number,
    readonly height: number,
    readonly components: number,
    readonly samples: Samples,
  ) {
    watched.undisposed += 1;
  }

  get componentSize(): number {
    return this.samples instanceof Uint16Array ? 16 : 8;
  }

  async getData({ chunky = true, fullRange = false }: { chunky?: boolean; fullRange?: boolean }): Promise<Samples> {
    if (this.disposed || !chunky || fullRange) {
      throw refusal("the fake gives chunky data of the reduced range, before dispose");
    }
    return this.samples.slice();
  }

  async dispose(): Promise<void> {
    watched.undisposed -= this.disposed ? 0 : 1;
    this.disposed = true;
  }
}

function find(documentID: number): FakeDocument {
  const document = documents.find(({ id }) => id === documentID);
  if (document === undefined) {
    throw refusal("The document is not available");
  }
  return document;
}

function layerOf(document: FakeDocument, layerID: number): FakeLayer {
  const layer = document.layers.find(({ id }) => id === layerID);
  if (layer === undefined) {
    throw refusal("The layer is not available");
  }
  return layer;
}

/** The part of a region that has something in it, as Photoshop trims it. */
function trimmed(region: Region, has: (x: number, y: number) => boolean): Region {
  let [left, top, right, bottom] = [region.right, region.bottom, region.left, region.top];
  for (let y = region.top; y < region.bottom; y += 1) {
    for (let x = region.left; x < region.right; x += 1) {
      if (has(x, y)) {
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
      }
    }
  }
  return right > left ? { left, top, right, bottom } : { left: 0, top: 0, right: 0, bottom: 0 };
}

function taken(region: Region, components: number, bits: number, pixel: (x: number, y: number) => readonly number[]): FakeImageData {
  const [width, height] = [widthOf(region), heightOf(region)];
  const data = bits === 16 ? new Uint16Array(width * height * components) : new Uint8Array(width * height * components);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      data.set(pixel(region.left + x, region.top + y).slice(0, components), (y * width + x) * components);
    }
  }
  return new FakeImageData(width, height, components, data);
}

interface Ask {
  readonly documentID: number;
  readonly layerID: number;
  readonly sourceBounds: Region;
  readonly imageData: FakeImageData;
  readonly targetBounds: { left: number; top: number; width: number; height: number };
  readonly componentSize: number;
  readonly colorSpace: string;
  readonly colorProfile: string;
}

function planeOf({ imageData, targetBounds }: Ask): Plane {
  const { left, top, width, height } = targetBounds;
  if (imageData.disposed || imageData.width !== width || imageData.height !== height) {
    throw refusal("Invalid image data, or bounds that are not its own");
  }
  const region = { left, top, right: left + width, bottom: top + height };
  return { region, channels: imageData.components, data: imageData.samples };
}

/** Three components become four, all of them seen. */
function opaque(plane: Plane): Plane {
  if (plane.channels === 4) {
    return plane;
  }
  const white = plane.data instanceof Uint16Array ? 32_768 : 255;
  const count = widthOf(plane.region) * heightOf(plane.region);
  const data = plane.data instanceof Uint16Array ? new Uint16Array(count * 4) : new Uint8Array(count * 4);
  for (let pixel = 0; pixel < count; pixel += 1) {
    data.set([...plane.data.subarray(pixel * 3, pixel * 3 + 3), white], pixel * 4);
  }
  return { ...plane, channels: 4, data };
}

export const imaging = {
  async getPixels({ documentID, sourceBounds, componentSize, colorSpace, colorProfile }: Ask) {
    const document = find(documentID);
    if (colorSpace !== "RGB" || colorProfile !== "sRGB IEC61966-2.1" || componentSize !== document.bits) {
      throw refusal("the fake converts neither depths nor colours");
    }
    const { left, top, right, bottom } = sourceBounds;
    if (left < 0 || top < 0 || right > document.width || bottom > document.height) {
      throw refusal("Invalid bounds");
    }
    const bounds = trimmed(sourceBounds, (x, y) => (document.seen(x, y)[3] ?? 0) > 0);
    const imageData = taken(bounds, 4, document.bits, (x, y) => document.seen(x, y));
    return { imageData, sourceBounds: bounds, level: 0 };
  },
  async getSelection({ documentID, sourceBounds }: Ask) {
    const { chosen } = find(documentID);
    if (chosen === undefined) {
      throw refusal("There is no selection");
    }
    const bounds = trimmed(sourceBounds, (x, y) => (at(chosen, x, y)?.[0] ?? 0) > 0);
    return { imageData: taken(bounds, 1, 8, (x, y) => at(chosen, x, y) ?? [0]), sourceBounds: bounds };
  },
  async getLayerMask({ documentID, layerID, sourceBounds }: Ask) {
    const { mask } = layerOf(find(documentID), layerID);
    if (mask === undefined) {
      throw refusal("The layer has no mask");
    }
    const bounds = trimmed(sourceBounds, (x, y) => (at(mask, x, y)?.[0] ?? 0) > 0);
    return { imageData: taken(bounds, 1, 8, (x, y) => at(mask, x, y) ?? [0]), sourceBounds: bounds };
  },
  async putPixels(ask: Ask) {
    needsModal("putPixels");
    const document = find(ask.documentID);
    if (ask.imageData.componentSize !== document.bits) {
      throw refusal("Image data of another depth than the document");
    }
    layerOf(document, ask.layerID).pixels = opaque(planeOf(ask));
  },
  async putLayerMask(ask: Ask) {
    needsModal("putLayerMask");
    const layer = layerOf(find(ask.documentID), ask.layerID);
    if (layer.mask === undefined || ask.imageData.components !== 1) {
      throw refusal("The layer has no mask to put pixels into");
    }
    layer.mask = planeOf(ask);
  },
  async createImageDataFromBuffer(data: Samples, { width, height, components }: { width: number; height: number; components: number }) {
    if (data.length !== width * height * components || (data instanceof Uint16Array && data.some((value) => value > 32_768))) {
      throw refusal("Invalid buffer: another size, or beyond the range of 16 bits");
    }
    return new FakeImageData(width, height, components, data.slice() as Samples);
  },
};

/** Everything is brought back when a suspension ends without being committed. */
const suspended = new Map<number, { document: FakeDocument; name: string; layers: [FakeLayer, Plane | undefined, Plane | undefined][]; active: FakeLayer[] }>();

const hostControl = {
  async suspendHistory({ documentID, name }: { documentID: number; name: string }) {
    const document = find(documentID);
    const layers = document.layers.map((layer) => [layer, layer.pixels, layer.mask] as [FakeLayer, Plane | undefined, Plane | undefined]);
    const historySuspensionID = (ids += 1);
    suspended.set(historySuspensionID, { document, name, layers, active: document.activeLayers });
    return { historySuspensionID };
  },
  async resumeHistory({ historySuspensionID }: { historySuspensionID: number }, commit = true) {
    const kept = suspended.get(historySuspensionID);
    suspended.delete(historySuspensionID);
    if (kept === undefined) {
      throw refusal("This history is not suspended");
    }
    if (commit) {
      kept.document.history.push(kept.name);
    } else {
      kept.document.layers = kept.layers.map(([layer, pixels, mask]) => Object.assign(layer, { pixels, mask }));
      kept.document.activeLayers = kept.active;
    }
  },
};

export const core = {
  async executeAsModal<T>(run: (context: unknown) => Promise<T>, { commandName }: { commandName: string }): Promise<T> {
    if (modalBy !== undefined) {
      throw refusal("host is in a modal state", 9);
    }
    modalBy = commandName;
    watched.scopes.push(commandName);
    try {
      return await run({ hostControl, get isCancelled() { return watched.cancels; } });
    } finally {
      modalBy = undefined;
      if (suspended.size > 0) {
        throw refusal("a history was left suspended");
      }
    }
  },
};

export const action = {
  async batchPlay(commands: readonly { _obj: string; using?: { _value: string } }[]): Promise<unknown[]> {
    needsModal("batchPlay");
    const [command] = commands;
    const layer = documents.flatMap(({ activeLayers }) => activeLayers).at(-1);
    if (command?._obj !== "make" || command.using?._value !== "hideAll" || layer === undefined) {
      throw refusal("the fake knows how to make a mask");
    }
    layer.mask = { region: { left: 0, top: 0, right: 0, bottom: 0 }, channels: 1, data: new Uint8Array(0) };
    return [{}];
  },
};

export const app = {
  get documents() {
    return documents;
  },
  get activeDocument() {
    const document = documents.at(-1);
    if (document === undefined) {
      throw refusal("There is no document");
    }
    return document;
  },
};

export const constants = {
  DocumentMode: { RGB: "RGBColorMode", CMYK: "CMYKColorMode" },
  BitsPerChannelType: { EIGHT: "bitDepth8", SIXTEEN: "bitDepth16", THIRTYTWO: "bitDepth32" },
  LayerKind: { NORMAL: "pixel" },
  ElementPlacement: { PLACEBEFORE: "placeBefore" },
};
