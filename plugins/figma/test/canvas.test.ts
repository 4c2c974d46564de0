// The document half of the plugin on a fake of Figma: which picture is read, where the result goes, and what one undo takes back.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { png, sizeOf } from "../../shared/test/png.js";
import { MAX_IMAGE_PX, put, read } from "../src/host/canvas.js";
import { FakeFigma, type FakeNode } from "./fake.js";

const grey = (width: number, height: number): Uint8Array => png(width, height, () => [128, 128, 128]);
const paint = (imageHash: string | null, more: Partial<ImagePaint> = {}): ImagePaint => ({ type: "IMAGE", scaleMode: "FILL", imageHash, ...more });
const red: SolidPaint = { type: "SOLID", color: { r: 1, g: 0, b: 0 } };

describe("the document", () => {
  let fake: FakeFigma;
  const node = (id: string): FakeNode => fake.find(id) as FakeNode;

  beforeEach(() => {
    fake = new FakeFigma(
      [
        { id: "1:1", name: "Photo", type: "RECTANGLE", fills: [red, paint("photo", { scaleMode: "CROP", imageTransform: [[0.5, 0, 0.1], [0, 0.5, 0.2]], filters: { exposure: 0.3 } })] },
        { id: "1:2", name: "Card", type: "FRAME", x: 200, y: 50, width: 300, height: 200, layoutMode: "NONE", children: [
          { id: "1:3", name: "Title", type: "TEXT", x: 10, y: 20, width: 120, height: 24, fills: "mixed" },
          { id: "1:4", name: "Star", type: "STAR", x: 40, y: 60, width: 50, height: 40, fills: [red] },
        ] },
        { id: "1:5", name: "Row", type: "FRAME", x: 0, y: 500, layoutMode: "HORIZONTAL", children: [{ id: "1:6", name: "Cell", type: "ELLIPSE", fills: [red] }] },
        { id: "1:7", name: "Button", type: "INSTANCE", x: 700, y: 10, children: [{ id: "1:8", name: "Shape", type: "RECTANGLE", x: 5, y: 5, fills: [red] }] },
        { id: "1:9", name: "Turned", type: "FRAME", x: 900, y: 0, rotation: 30, children: [{ id: "1:10", name: "Inner", type: "RECTANGLE", x: 0, y: 0, fills: [red] }] },
        { id: "1:11", name: "Wall", type: "FRAME", width: 8192, height: 1000 },
        { id: "1:12", name: "Nothing", type: "FRAME", width: 0, height: 0 },
      ],
      async (width, height) => grey(width, height),
    );
    fake.images.set("photo", grey(64, 48));
    Object.assign(globalThis, { figma: fake });
  });

  test("an image fill is edited in place, cropped and filtered as before, and one undo brings it back", async () => {
    fake.select("1:1");
    const source = await read();
    assert.equal(source.label, "fill of Photo, 64 x 48");
    assert.deepEqual(sizeOf(source.bytes), [64, 48]);
    const before = fake.page.state();
    await put(source.place, grey(64, 48), "make it blue");
    const fills = node("1:1").fills as readonly Paint[];
    assert.equal(fills.length, 2);
    assert.deepEqual(fills[0], red);
    const edited = fills[1] as ImagePaint;
    assert.notEqual(edited.imageHash, "photo");
    assert.deepEqual({ ...edited, imageHash: "photo" }, paint("photo", { scaleMode: "CROP", imageTransform: [[0.5, 0, 0.1], [0, 0.5, 0.2]], filters: { exposure: 0.3 } }));
    assert.deepEqual(fake.undo(), before);
  });

  test("a fill that has moved is found; one that has gone is said", async () => {
    fake.select("1:1");
    const { place } = await read();
    const photo = node("1:1");
    photo.fills = [...(photo.fills as Paint[])].reverse();
    await put(place, grey(64, 48), "x");
    assert.match((photo.fills as ImagePaint[])[0]?.imageHash ?? "", /^made/);
    await assert.rejects(put(place, grey(64, 48), "x"), /no longer there/);
  });

  test("any other layer is taken as it looks, and the result lies over it where it was", async () => {
    fake.select("1:4");
    const source = await read();
    assert.equal(source.label, "Star as it looks, 50 x 40");
    const before = fake.page.state();
    await put(source.place, grey(50, 40), "make it gold");
    const card = node("1:2");
    assert.deepEqual(card.children.map(({ name }) => name), ["Title", "Star", "make it gold"]);
    const over = card.children[2] as FakeNode;
    assert.deepEqual([over.x, over.y, over.width, over.height], [40, 60, 50, 40]);
    assert.deepEqual(over.absoluteRenderBounds, node("1:4").absoluteRenderBounds);
    assert.deepEqual(fake.currentPage.selection, [over]);
    assert.deepEqual(fake.undo(), before);
  });

  test("what the user did before stays a step of its own", async () => {
    fake.select("1:4");
    const source = await read();
    node("1:3").name = "Renamed";
    const renamed = fake.page.state();
    await put(source.place, grey(50, 40), "x");
    assert.deepEqual(fake.undo(), renamed);
  });

  test("in auto layout the result is placed absolutely; in instances and in what is turned, on the page", async () => {
    for (const [id, parent] of [["1:6", "Row"], ["1:8", "Page 1"], ["1:10", "Page 1"]] as const) {
      fake.select(id);
      const source = await read();
      await put(source.place, grey(100, 100), "x");
      const [over] = fake.currentPage.selection;
      assert.equal(over?.parent?.name, parent, id);
      assert.equal(over?.layoutPositioning, parent === "Row" ? "ABSOLUTE" : "AUTO");
      const wanted = source.place.kind === "over" ? source.place : undefined;
      assert.deepEqual([over?.absoluteRenderBounds?.x, over?.absoluteRenderBounds?.y], [wanted?.x, wanted?.y]);
    }
  });

  test("no side is ever longer than Figma takes", async () => {
    fake.select("1:11");
    const source = await read();
    assert.deepEqual(sizeOf(source.bytes), [MAX_IMAGE_PX, 500]);
    assert.equal(source.label, "Wall as it looks, 4096 x 500");
    await put(source.place, source.bytes, "x");
    const [over] = fake.currentPage.selection;
    assert.deepEqual([over?.width, over?.height], [8192, 1000], "it covers all of the layer");
    const before = fake.page.state();
    await assert.rejects(put(source.place, grey(1, 5000), "x"), /1 x 5000 pixels; Figma takes images up to 4096/);
    assert.deepEqual(fake.page.state(), before);
  });

  test("says what to select", async () => {
    for (const [ids, sentence] of [
      [[], /Select a layer/],
      [["1:1", "1:2"], /one layer only/],
      [["1:12"], /shows nothing/],
    ] as const) {
      fake.select(...ids);
      await assert.rejects(read(), sentence);
    }
    fake.select("1:4");
    const { place } = await read();
    node("1:2").children.pop();
    await assert.rejects(put(place, grey(50, 40), "x"), /no longer there/);
    await assert.rejects(put({ ...place, nodeId: "1:2" } as typeof place, new Uint8Array(30), "x"), /no PNG/);
  });
});
