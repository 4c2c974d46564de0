// Reads what is chosen: the picture that one sees, around the selection or the mask of the active layer. One short modal scope.

import { HostProblem } from "@easel/panel";
import { app, constants, core, imaging } from "photoshop";

import { toFull } from "../pixels/depth.js";
import type { Raster } from "../pixels/png.js";
import { common, heightOf, isEmpty, type Region, widthOf, withSurroundings } from "./region.js";

/** The profile in which the model thinks; Photoshop converts to it and back. */
export const PROFILE = "sRGB IEC61966-2.1";

/** Grey of 8 bits: what of a region is chosen. */
export interface Mask {
  readonly region: Region;
  readonly data: Uint8Array;
}

/** What was read, and where its result goes. */
export interface Reading {
  readonly documentId: number;
  /** The active layer, above which the result goes. */
  readonly layerId: number | undefined;
  readonly bits: 8 | 16;
  readonly region: Region;
  readonly picture: Raster;
  readonly mask: Mask | undefined;
  readonly label: string;
}

type Document = typeof app.activeDocument;

/** Reads the active document. Throws a {@link HostProblem} when it cannot be edited. */
export async function read(): Promise<Reading> {
  if (app.documents.length === 0) {
    throw new HostProblem("Open a document first.");
  }
  const document = app.activeDocument;
  const bits = depthOf(document);
  return modal("Easel reads the picture", () => readParts(document, bits));
}

function depthOf(document: Document): 8 | 16 {
  if (document.mode !== constants.DocumentMode.RGB) {
    throw new HostProblem("This document is not RGB. Convert it: Image, Mode, RGB Color.");
  }
  switch (document.bitsPerChannel) {
    case constants.BitsPerChannelType.EIGHT:
      return 8;
    case constants.BitsPerChannelType.SIXTEEN:
      return 16;
    default:
      throw new HostProblem("This document has 32 bits per channel. Convert it to 16 or 8: Image, Mode.");
  }
}

/** Runs in Photoshop's modal scope; says so when another plugin or a dialog has it. */
export async function modal<T>(commandName: string, run: (context: Context) => Promise<T>): Promise<T> {
  try {
    return await core.executeAsModal(run, { commandName });
  } catch (thrown) {
    // Photoshop gives a number for what it refuses: 9 is "busy".
    if (thrown instanceof Error && (thrown as { number?: number }).number === 9) {
      throw new HostProblem("Photoshop is busy. Close its dialogs, or wait for the other plugin, and try again.");
    }
    throw thrown;
  }
}

export type Context = Parameters<Parameters<typeof core.executeAsModal>[0]>[0];

async function readParts(document: Document, bits: 8 | 16): Promise<Reading> {
  const canvas = { left: 0, top: 0, right: document.width, bottom: document.height };
  const layer = document.activeLayers[0];
  const mask = (await readSelection(document, canvas)) ?? (layer === undefined ? undefined : await readLayerMask(document, layer.id, canvas));
  const wanted = mask === undefined ? canvas : common(withSurroundings(mask.region), canvas);
  const { imageData, sourceBounds } = await imaging.getPixels({
    documentID: document.id,
    sourceBounds: wanted,
    colorSpace: "RGB",
    colorProfile: PROFILE,
    componentSize: bits,
  });
  try {
    // Only what has pixels comes: where it lies is what the answer says, not what was asked for.
    const region = { left: sourceBounds.left, top: sourceBounds.top, right: sourceBounds.right, bottom: sourceBounds.bottom };
    if (isEmpty(region) || (mask !== undefined && isEmpty(common(mask.region, region)))) {
      throw new HostProblem("There are no pixels in what is selected.");
    }
    const data = await imageData.getData({ chunky: true });
    const picture: Raster = {
      width: imageData.width,
      height: imageData.height,
      components: imageData.components === 4 ? 4 : 3,
      data: data instanceof Uint16Array ? toFull(data) : (data as Uint8Array),
    };
    const size = mask === undefined ? region : mask.region;
    const label = `${mask === undefined ? "all of" : "selection in"} ${document.title}, ${widthOf(size)} x ${heightOf(size)}`;
    return { documentId: document.id, layerId: layer?.id, bits, region, picture, mask, label };
  } finally {
    await imageData.dispose();
  }
}

/** The selection, within the canvas; `undefined` when there is none. */
async function readSelection(document: Document, canvas: Region): Promise<Mask | undefined> {
  const bounds = document.selection.bounds;
  if (bounds === null) {
    return undefined;
  }
  const sourceBounds = common(bounds, canvas);
  if (isEmpty(sourceBounds)) {
    throw new HostProblem("The selection lies outside of the canvas.");
  }
  return grey(await imaging.getSelection({ documentID: document.id, sourceBounds }));
}

/** The mask of a layer, as a selection; `undefined` when it has none. */
async function readLayerMask(document: Document, layerID: number, canvas: Region): Promise<Mask | undefined> {
  try {
    return grey(await imaging.getLayerMask({ documentID: document.id, layerID, kind: "user", sourceBounds: canvas }));
  } catch {
    // Photoshop has no other way to say that there is no mask.
    return undefined;
  }
}

async function grey({ imageData, sourceBounds }: Awaited<ReturnType<typeof imaging.getSelection>>): Promise<Mask | undefined> {
  try {
    const { left, top, right, bottom } = sourceBounds;
    const region = { left, top, right, bottom };
    const data = (await imageData.getData({ chunky: true })) as Uint8Array;
    return isEmpty(region) || data.every((value) => value === 0) ? undefined : { region, data };
  } finally {
    await imageData.dispose();
  }
}
