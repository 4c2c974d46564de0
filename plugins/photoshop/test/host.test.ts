// The host on a fake of Photoshop: what is read, at which bounds and depth; where the result goes; what the history and the modal scope
// see of it.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { inflateSync } from "node:zlib";

import type { Image, Picture } from "@easel/sdk";

import type { Placed, Source } from "@easel/panel";
import { PhotoshopHost } from "../src/host/photoshop.js";
import type { Region } from "../src/host/region.js";
import type { Reading } from "../src/host/read.js";
import { FakeDocument, isModal, occupy, type Plane, reset, watched } from "./fake/photoshop.js";

/** A plane of one colour. */
function flat(region: Region, pixel: readonly number[], bits = 8): Plane {
  const count = (region.right - region.left) * (region.bottom - region.top);
  const data = bits === 16 ? new Uint16Array(count * pixel.length) : new Uint8Array(count * pixel.length);
  for (let at = 0; at < count; at += 1) {
    data.set(pixel, at * pixel.length);
  }
  return { region, channels: pixel.length, data };
}

const box = (left: number, top: number, right: number, bottom: number): Region => ({ left, top, right, bottom });

/** Header and samples of a PNG of this plugin. */
function png(picture: Picture | undefined): { width: number; height: number; depth: number; kind: number; samples: number[][] } {
  assert.ok(picture instanceof Uint8Array);
  const file = Buffer.from(picture);
  const [width, height, depth, kind] = [file.readUInt32BE(16), file.readUInt32BE(20), file[24] ?? 0, file[25] ?? 0];
  const start = file.indexOf("IDAT") + 4;
  const raw = inflateSync(file.subarray(start, start + file.readUInt32BE(start - 8)));
  const channels = { 0: 1, 2: 3, 4: 2, 6: 4 }[kind] ?? 0;
  const row = width * channels * (depth / 8) + 1;
  const samples = Array.from({ length: height }, (_, y) => {
    assert.equal(raw[y * row], 0, "no filter");
    return Array.from({ length: width * channels }, (_, at) =>
      depth === 16 ? raw.readUInt16BE(y * row + 1 + 2 * at) : (raw[y * row + 1 + at] ?? 0),
    );
  });
  return { width, height, depth, kind, samples };
}

/** An uncompressed TIFF, as the daemon writes it. */
function tiff(width: number, height: number, pixel: readonly number[]): Uint8Array {
  const strip = Buffer.from(flat(box(0, 0, width, height), pixel).data);
  const entries = [[256, 3, 1, width], [257, 3, 1, height], [258, 3, 1, 8], [259, 3, 1, 1], [273, 4, 1, 8], [277, 3, 1, pixel.length], [279, 4, 1, strip.length]] as const;
  const file = Buffer.alloc(8 + strip.length + 2 + 12 * entries.length + 4);
  file.write("II*\0", "latin1");
  file.writeUInt32LE(8 + strip.length, 4);
  strip.copy(file, 8);
  let at = file.writeUInt16LE(entries.length, 8 + strip.length);
  for (const [tag, type, count, value] of entries) {
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(type, at + 2);
    file.writeUInt32LE(count, at + 4);
    file.writeUInt32LE(value, at + 8);
    at += 12;
  }
  return file;
}

describe("Photoshop", () => {
  const host = new PhotoshopHost();
  let document: FakeDocument;

  beforeEach(() => {
    reset();
    document = new FakeDocument("beach.psd", 400, 300);
    document.addLayer("Ground", flat(box(0, 0, 400, 300), [10, 20, 30, 255]));
    document.addLayer("Stone", flat(box(100, 100, 140, 120), [200, 100, 50, 255]));
  });

  const placed = (source: Source, bytes: Uint8Array): Promise<void> =>
    host.place(source, { bytes, image: {} as Image, changed: undefined, instruction: "make it gold" } satisfies Placed);
  const region = (source: Source): Region => (source.place as Reading).region;

  test("without a selection all of the picture goes, without a mask", async () => {
    const source = await host.read();
    const { width, height, depth, kind, samples } = png(source.picture);
    assert.deepEqual([width, height, depth, kind], [400, 300, 8, 6]);
    assert.deepEqual(samples[110]?.slice(4 * 99, 4 * 101), [10, 20, 30, 255, 200, 100, 50, 255]);
    assert.deepEqual([source.selection, source.label], [undefined, "all of beach.psd, 400 x 300"]);
    assert.deepEqual(watched.scopes, ["Easel reads the picture"]);
    assert.deepEqual([isModal(), watched.undisposed], [false, 0], "nothing is held while the daemon works");
  });

  test("a selection goes as it is, with its soft edge, and surroundings around it", async () => {
    const chosen = flat(box(50, 60, 150, 100), [255]);
    chosen.data[0] = 128;
    document.chosen = chosen;
    const source = await host.read();
    assert.deepEqual(region(source), box(0, 0, 214, 164), "half of 100 is less than 64; the canvas ends at 0");
    assert.deepEqual([source.selection?.x, source.selection?.y, source.label], [50, 60, "selection in beach.psd, 100 x 40"]);
    const mask = png(source.selection?.mask);
    assert.deepEqual([mask.width, mask.height, mask.depth, mask.kind], [100, 40, 8, 0]);
    assert.deepEqual(mask.samples[0]?.slice(0, 3), [128, 255, 255]);
  });

  test("what reaches over the canvas is cut off", async () => {
    document.chosen = flat(box(-20, 280, 30, 400), [255]);
    const source = await host.read();
    assert.deepEqual((source.place as Reading).mask?.region, box(0, 280, 30, 300));
    assert.deepEqual([source.selection?.x, source.selection?.y], [0, 280 - region(source).top]);
    document.chosen = flat(box(500, 10, 510, 20), [255]);
    await assert.rejects(host.read(), { name: "HostProblem", message: /outside of the canvas/ });
  });

  test("only what has pixels comes, and it is placed where it lies", async () => {
    document.layers.pop();
    const source = await host.read();
    assert.deepEqual(region(source), box(100, 100, 140, 120));
    await placed(source, tiff(40, 20, [9, 8, 7]));
    const [layer] = document.layers;
    assert.deepEqual(layer?.pixels?.region, box(100, 100, 140, 120));
    document.chosen = flat(box(0, 0, 300, 300), [255]);
    const chosen = await host.read();
    assert.deepEqual(region(chosen), box(100, 100, 140, 120));
    assert.deepEqual([chosen.selection?.x, chosen.selection?.y], [-100, -100], "the mask reaches beyond the pixels");
    document.chosen = flat(box(200, 200, 260, 260), [255]);
    await assert.rejects(host.read(), { name: "HostProblem", message: /no pixels/ });
  });

  test("without a selection the mask of the active layer is one", async () => {
    const [stone] = document.layers;
    assert.ok(stone);
    stone.mask = flat(box(110, 100, 120, 110), [255]);
    const source = await host.read();
    assert.deepEqual((source.place as Reading).mask?.region, box(110, 100, 120, 110));
    document.chosen = flat(box(0, 0, 10, 10), [255]);
    assert.deepEqual(((await host.read()).place as Reading).mask?.region, box(0, 0, 10, 10), "a selection comes first");
  });

  test("the result is a layer above the active one, masked by the selection, and one state of the history", async () => {
    const [stone, ground] = document.layers;
    assert.ok(stone && ground);
    document.activeLayers = [ground];
    document.chosen = flat(box(50, 60, 150, 100), [255]);
    const source = await host.read();
    const below = structuredClone(ground.pixels);
    await placed(source, tiff(214, 164, [1, 2, 3]));
    assert.deepEqual(document.layers.map(({ name }) => name), ["Stone", "make it gold", "Ground"]);
    const layer = document.layers[1];
    assert.deepEqual(layer?.pixels?.region, box(0, 0, 214, 164));
    assert.deepEqual(Array.from(layer?.pixels?.data.subarray(0, 4) ?? []), [1, 2, 3, 255]);
    assert.deepEqual(layer?.mask, document.chosen);
    assert.deepEqual(ground.pixels, below, "what was there keeps its bits");
    assert.deepEqual(document.history, ["Open", "Easel: make it gold"]);
    assert.deepEqual([document.seen(49, 60), document.seen(50, 60)], [[10, 20, 30, 255], [1, 2, 3, 255]]);
    assert.deepEqual(watched.scopes, ["Easel reads the picture", "Easel places the picture"]);
    assert.equal(watched.undisposed, 0);
  });

  test("16 bits keep their steps on the way out, and come in Photoshop's range", async () => {
    const deep = new FakeDocument("deep.psd", 20, 10, "bitDepth16");
    const pixels = flat(box(0, 0, 20, 10), [0, 16_384, 32_768, 32_768], 16);
    pixels.data[0] = 1;
    deep.addLayer("Ground", pixels);
    const source = await host.read();
    const { depth, samples } = png(source.picture);
    assert.equal(depth, 16);
    assert.deepEqual(samples[0]?.slice(0, 8), [2, 32_768, 65_535, 65_535, 0, 32_768, 65_535, 65_535]);
    await placed(source, tiff(20, 10, [0, 128, 255]));
    const { data } = deep.layers[0]?.pixels ?? {};
    assert.ok(data instanceof Uint16Array);
    assert.deepEqual(Array.from(data.subarray(0, 4)), [0, 16_448, 32_768, 32_768]);
  });

  test("a result that cannot be placed leaves the document as it was", async () => {
    document.chosen = flat(box(50, 60, 150, 100), [255]);
    const source = await host.read();
    const before = document.state();
    await assert.rejects(placed(source, new Uint8Array(20)), /no TIFF/);
    watched.cancels = true;
    await assert.rejects(placed(source, tiff(214, 164, [1, 2, 3])), { name: "HostProblem", message: /cancelled/ });
    watched.cancels = false;
    assert.deepEqual(document.state(), before);
    assert.equal(watched.undisposed, 0);
    document.layers.shift();
    await placed(source, tiff(214, 164, [1, 2, 3]));
    assert.equal(document.layers[0]?.name, "make it gold", "without the layer that was active it goes on top");
    document.close();
    await assert.rejects(placed(source, tiff(214, 164, [1, 2, 3])), { name: "HostProblem", message: /is closed/ });
  });

  test("says what it cannot edit", async () => {
    occupy("another plugin");
    await assert.rejects(host.read(), { name: "HostProblem", message: /busy/ });
    occupy(undefined);
    document.bitsPerChannel = "bitDepth32";
    await assert.rejects(host.read(), { name: "HostProblem", message: /16 or 8/ });
    document.mode = "CMYKColorMode";
    await assert.rejects(host.read(), { name: "HostProblem", message: /not RGB/ });
    document.close();
    await assert.rejects(host.read(), { name: "HostProblem", message: /Open a document/ });
  });

  test("remembers in Photoshop's secure storage", async () => {
    assert.equal(await host.memory.get("a"), undefined);
    await host.memory.set("a", "token");
    assert.equal(await host.memory.get("a"), "token");
    await host.memory.set("a", undefined);
    assert.equal(await host.memory.get("a"), undefined);
  });
});
